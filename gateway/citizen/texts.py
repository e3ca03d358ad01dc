"""Every sentence of the citizen's pages, in German and English, side by side so that none is missing.

Plain language: short sentences, no office German. Placeholders are `{name}`; a test holds both languages to the same
ones and the templates to the keys that exist. What institutions write isn't here: it comes in the catalogue and is
escaped where shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple


class Text(NamedTuple):
    """One text in both languages."""

    de: str
    en: str


LANGUAGES: Final = ("de", "en")

TEXTS: Final[dict[str, Text]] = {
    # Frame
    "app_name": Text("Bürgerkonto {city}", "{city} citizen account"),
    "skip": Text("Zum Inhalt springen", "Skip to content"),
    "main_navigation": Text("Hauptmenü", "Main menu"),
    "language": Text("Sprache", "Language"),
    "nav_overview": Text("Übersicht", "Overview"),
    "nav_services": Text("Dienste", "Services"),
    "nav_consents": Text("Einwilligungen", "Consents"),
    "nav_accesses": Text("Zugriffe", "Accesses"),
    "nav_verify": Text("Prüfen", "Verify"),
    "login": Text("Anmelden", "Log in"),
    "logout": Text("Abmelden", "Log out"),
    "logged_in_as": Text("Angemeldet als {name}", "Logged in as {name}"),
    "level": Text("Vertrauensniveau", "Identity level"),
    "level_none": Text("keines", "none"),
    "level_low": Text("normal", "low"),
    "level_substantial": Text("substanziell", "substantial"),
    "level_high": Text("hoch", "high"),
    "footer": Text(
        "Alle Angaben auf dieser Seite holt das Bürgerkonto erst, wenn Sie sie öffnen.",
        "The citizen account fetches what you see here only when you open it.",
    ),
    # Welcome and overview
    "welcome_title": Text("Ihre Daten, Ihre Entscheidung", "Your data, your decision"),
    "welcome_text": Text(
        "Hier nutzen Sie Dienste der Stadt, der Stadtwerke und der Sparkasse an einer Stelle. Sie bestimmen, wer "
        "welche Daten bekommt. Und Sie sehen jeden einzelnen Zugriff.",
        "Use the services of the city, the municipal utility and the savings bank in one place. You decide who gets "
        "which data. And you see every single access.",
    ),
    "overview_title": Text("Guten Tag, {name}", "Hello, {name}"),
    "overview_services": Text("{count} Dienste stehen bereit.", "{count} services are available."),
    "overview_consents": Text("{count} Einwilligungen sind gültig.", "{count} consents are valid."),
    "overview_waiting": Text(
        "{count} Entscheidungen sind noch nicht bei allen Stellen angekommen.",
        "{count} decisions have not reached every institution yet.",
    ),
    "to_services": Text("Zu den Diensten", "Go to services"),
    "to_consents": Text("Zu den Einwilligungen", "Go to consents"),
    "to_accesses": Text("Zugriffe ansehen", "See accesses"),
    # Services
    "services_title": Text("Dienste", "Services"),
    "services_none": Text("Zurzeit ist kein Dienst erreichbar.", "No service can be reached at the moment."),
    "unreachable": Text(
        "Diese Stelle antwortet gerade nicht: {name}. Was hier steht, kann unvollständig sein.",
        "This institution does not answer at the moment: {name}. What is shown here may be incomplete.",
    ),
    "open_service": Text("{title} öffnen", "Open {title}"),
    "provider": Text("Anbieter", "Provider"),
    "what_for": Text("Wofür", "What for"),
    "what_app_wants": Text("Wofür das Bürgerkonto die Daten nutzt", "What the citizen account uses the data for"),
    "legal_basis": Text("Rechtsgrundlage", "Legal basis"),
    "basis_consent": Text("Ihre Einwilligung", "Your consent"),
    "basis_law": Text("Gesetz", "Law"),
    "basis_contract": Text("Vertrag", "Contract"),
    "basis_not_declared": Text("vom Anbieter nicht angegeben", "not declared by the provider"),
    "data_categories": Text("Welche Daten", "Which data"),
    # Categories that institutions declare by code; another code is shown as it is.
    "category_accounts": Text("Konten und IBAN", "accounts and IBAN"),
    "category_appointments": Text("Termine", "appointments"),
    "category_balances": Text("Kontostände", "balances"),
    "category_bills": Text("Rechnungen und Abschläge", "bills and prepayments"),
    "category_consumption": Text("Verbrauch", "consumption"),
    "category_contact": Text("E-Mail-Adresse und Telefonnummer", "e-mail address and telephone number"),
    "category_customer-number": Text("Kundennummer", "customer number"),
    "category_name": Text("Name", "name"),
    "category_name-address": Text("Name und Anschrift", "name and address"),
    "required_level": Text("Nötiges Vertrauensniveau", "Required identity level"),
    "step_up_text": Text(
        "Dieser Dienst braucht eine Anmeldung mit dem Vertrauensniveau „{level}“.",
        "This service needs a login with the identity level “{level}”.",
    ),
    "step_up": Text("Stärker anmelden", "Log in with a higher level"),
    "consent_in_force": Text("Sie haben eingewilligt, bis {date}.", "You have consented, until {date}."),
    "consent_missing": Text(
        "Für diesen Dienst ist Ihre Einwilligung nötig. Ohne sie gibt die Stelle keine Daten heraus.",
        "This service needs your consent. Without it the institution hands out no data.",
    ),
    "decide": Text("Jetzt entscheiden", "Decide now"),
    "actions_title": Text("Was möchten Sie tun?", "What would you like to do?"),
    "result_title": Text("Antwort", "Answer"),
    "result_done": Text("Erledigt.", "Done."),
    "result_failed": Text("Das hat nicht geklappt", "That did not work"),
    "failed_at_road": Text(
        "Die Anfrage wurde nicht ausgeführt. Grund: {code}", "The request was not carried out. Reason: {code}"
    ),
    "fault_consent_required": Text(
        "Die Stelle hat keine Daten herausgegeben, weil Ihre Einwilligung fehlt.",
        "The institution handed out no data because your consent is missing.",
    ),
    "fault_consent_invalid": Text(
        "Die Stelle hat keine Daten herausgegeben, weil Ihre Einwilligung diese Anfrage nicht deckt.",
        "The institution handed out no data because your consent does not cover this request.",
    ),
    "fault_consent_expired": Text(
        "Die Stelle hat keine Daten herausgegeben, weil Ihre Einwilligung abgelaufen ist.",
        "The institution handed out no data because your consent has expired.",
    ),
    "fault_consent_withdrawn": Text(
        "Die Stelle hat keine Daten herausgegeben, weil Sie Ihre Einwilligung zurückgenommen haben.",
        "The institution handed out no data because you have withdrawn your consent.",
    ),
    "fault_identity_level_too_low": Text(
        "Dafür ist eine stärkere Anmeldung nötig.", "This needs a login with a higher identity level."
    ),
    "fault_network_error": Text(
        "Die Stelle ist gerade nicht erreichbar. Bitte versuchen Sie es in einigen Minuten erneut.",
        "The institution can't be reached at the moment. Please try again in a few minutes.",
    ),
    "failed_at_service": Text(
        "Die Stelle hat die Anfrage abgelehnt. Grund: {code}", "The institution refused the request. Reason: {code}"
    ),
    "request_number": Text("Vorgangsnummer", "Request number"),
    "recorded": Text(
        "Dieser Zugriff ist im Zugriffsprotokoll verzeichnet.", "This access is recorded in the access log."
    ),
    "next_title": Text("Weiter", "Next"),
    "choose": Text("Bitte wählen", "Please choose"),
    # Actions
    "action_balance": Text("Kontostand abrufen", "Ask for the account balance"),
    "action_accounts": Text("Konten anzeigen", "Show accounts"),
    "action_bank_link": Text("Konto verknüpfen", "Link your account"),
    "action_bank_method": Text("Verfahren wählen", "Choose the method"),
    "action_bank_tan": Text("TAN senden", "Send the TAN"),
    "action_bank_unlink": Text("Verknüpfung mit der Bank lösen", "Remove the link with the bank"),
    "action_bills": Text("Rechnungen anzeigen", "Show bills"),
    "action_bill": Text("Rechnung öffnen", "Open the bill"),
    "action_utility_link": Text("Kundenkonto verknüpfen", "Link your customer account"),
    "action_utility_unlink": Text("Verknüpfung mit den Stadtwerken lösen", "Remove the link with the utility"),
    "action_offices": Text("Termin vereinbaren: Standorte anzeigen", "Make an appointment: show the offices"),
    "action_office_services": Text("Leistungen des Standorts anzeigen", "Show the office's services"),
    "action_slots": Text("Freie Zeiten suchen", "Search free times"),
    "action_book": Text("Termin buchen", "Book the appointment"),
    "action_appointments": Text("Meine Termine", "My appointments"),
    "action_cancel": Text("Termin absagen", "Cancel the appointment"),
    "action_read": Text("Daten abrufen", "Ask for the data"),
    # Fields
    "field_psuId": Text("Anmeldename bei der Bank", "Login name at the bank"),
    "field_password": Text("Passwort oder PIN bei der Bank", "Password or PIN at the bank"),
    "field_authenticationMethodId": Text("Verfahren zur Freigabe", "Authorisation method"),
    "field_scaAuthenticationData": Text("TAN", "TAN"),
    "field_linkId": Text("Verknüpfung", "Link"),
    "field_customerNumber": Text("Kundennummer", "Customer number"),
    "field_meterNumber": Text("Zählernummer", "Meter number"),
    "field_invoiceNumber": Text("Rechnungsnummer", "Bill number"),
    "field_officeId": Text("Standort", "Office"),
    "field_serviceId": Text("Leistung", "Service"),
    "field_decision": Text("Entscheidung", "Decision"),
    "field_month": Text("Monat", "Month"),
    "field_level": Text("Vertrauensniveau", "Identity level"),
    "field_from": Text("Von", "From"),
    "field_to": Text("Bis", "Until"),
    "field_timestamp": Text("Zeit", "Time"),
    "field_familyName": Text("Name", "Name"),
    "field_email": Text("E-Mail", "E-mail"),
    "field_processId": Text("Termin", "Appointment"),
    # Consents
    "consents_title": Text("Einwilligungen", "Consents"),
    "consents_none": Text("Sie haben noch keine Einwilligung gegeben.", "You have given no consent yet."),
    "consent_question": Text("Möchten Sie einwilligen?", "Do you want to consent?"),
    "consent_lead": Text(
        "{provider} darf dann Ihre Daten an {recipient} geben. Sie können die Einwilligung jederzeit zurücknehmen.",
        "{provider} may then hand your data to {recipient}. You can take the consent back at any time.",
    ),
    "recipient": Text("Empfänger", "Recipient"),
    "valid_days": Text("Gültig", "Valid"),
    "days": Text("{count} Tage ab heute", "{count} days from today"),
    "privacy": Text("Datenschutzhinweise", "Privacy notice"),
    "consent_yes": Text("Ja, ich willige ein", "Yes, I consent"),
    "consent_no": Text("Nein, nicht einwilligen", "No, do not consent"),
    "withdraw": Text("Einwilligung zurücknehmen", "Withdraw the consent"),
    "withdraw_for": Text("Einwilligung für „{title}“ zurücknehmen", "Withdraw the consent for “{title}”"),
    "receipt": Text("Beleg herunterladen", "Download the receipt"),
    "given_on": Text("Gegeben am", "Given on"),
    "valid_until": Text("Gültig bis", "Valid until"),
    "state": Text("Stand", "State"),
    "state_pending": Text(
        "Noch nicht gültig: Die Stelle hat sie noch nicht bestätigt. Wir versuchen es weiter.",
        "Not valid yet: the institution has not confirmed it. We keep trying.",
    ),
    "state_valid": Text("Gültig. Die Stelle hat sie bestätigt.", "Valid. The institution has confirmed it."),
    "state_withdrawing": Text(
        "Zurückgenommen. Das Bürgerkonto fragt nichts mehr ab. Die Stelle hat das noch nicht bestätigt; wir versuchen "
        "es weiter. Spätestens am {date} endet die Einwilligung dort von selbst.",
        "Withdrawn. The citizen account asks for nothing any more. The institution has not confirmed it yet; we keep "
        "trying. On {date} at the latest the consent ends there by itself.",
    ),
    "state_withdrawn": Text("Zurückgenommen.", "Withdrawn."),
    "state_expired": Text("Abgelaufen.", "Expired."),
    "history": Text("Verlauf", "History"),
    "event_ConsentRequested": Text("Gefragt", "Asked"),
    "event_ConsentGiven": Text("Eingewilligt", "Consented"),
    "event_ConsentRefused": Text("Abgelehnt", "Refused"),
    "event_ConsentWithdrawn": Text("Zurückgenommen", "Withdrawn"),
    "event_ConsentExpired": Text("Abgelaufen", "Expired"),
    # Accesses
    "accesses_title": Text("Zugriffe auf Ihre Daten", "Accesses to your data"),
    "accesses_text": Text(
        "Hier steht jeder Zugriff im gewählten Monat, auch abgelehnte. Die Liste kommt von den Stellen selbst; das "
        "Bürgerkonto speichert sie nicht.",
        "Here is every access of the chosen month, refused ones too. The list comes from the institutions themselves; "
        "the citizen account does not store it.",
    ),
    "month": Text("Monat", "Month"),
    "show": Text("Anzeigen", "Show"),
    "accesses_none": Text("In diesem Monat gab es keinen Zugriff.", "There was no access in this month."),
    "accesses_found": Text(
        "{found} Zugriffe bei {asked} befragten Stellen, {silent} nicht erreichbar.",
        "{found} accesses at {asked} institutions asked, {silent} not reachable.",
    ),
    "when": Text("Wann", "When"),
    "who": Text("Wer hat gefragt", "Who asked"),
    "from_whom": Text("Bei wem", "From whom"),
    "service": Text("Dienst", "Service"),
    "which_data": Text("Welche Daten", "Which data"),
    "result": Text("Ergebnis", "Result"),
    "outcome_delivered": Text("Daten übermittelt", "Data handed over"),
    "outcome_denied": Text("Abgelehnt: Es wurden keine Daten übermittelt", "Refused: no data was handed over"),
    "outcome_failed": Text(
        "Fehlgeschlagen: Es wurden keine Daten übermittelt", "Failed: no data was handed over"
    ),
    "outcome_unknown": Text("Ergebnis unklar", "Result unclear"),
    "builtin_datenwegAccesses": Text("Ihr eigener Blick ins Zugriffsprotokoll", "Your own look into the access log"),
    "builtin_datenwegConsent": Text("Übermittlung Ihrer Entscheidung", "Transfer of your decision"),
    "builtin_datenwegServices": Text("Abruf des Dienstverzeichnisses", "Fetching the list of services"),
    "more": Text("Einzelheiten", "Details"),
    "own_looks": Text(
        "{count} Einträge entstanden, weil Sie selbst ins Zugriffsprotokoll gesehen haben",
        "{count} entries are there because you looked into the access log yourself",
    ),
    "reason": Text("Grund", "Reason"),
    "recorded_by": Text("Verzeichnet bei", "Recorded by"),
    "own_gateway": Text("Gateway der Stadt", "The city's gateway"),
    "own_gateway_calls": Text("Gateway der Stadt, Aufrufe bei: {name}", "The city's gateway, calls to {name}"),
    "not_stated": Text("nicht angegeben", "not stated"),
    "consent_reference": Text("Einwilligung", "Consent"),
    "download_bundle": Text("Beweisdatei herunterladen: {name}", "Download the file of proofs: {name}"),
    "to_verify": Text("Beweise prüfen", "Check the proofs"),
    "field_source": Text("Protokoll", "Log"),
    # Verify
    "verify_title": Text("Ist die Liste vollständig und unverändert?", "Is the list complete and unchanged?"),
    "verify_text": Text(
        "Jeder Zugriff steht in einem Protokoll, das niemand nachträglich ändern kann, ohne dass es auffällt. Hier "
        "rechnen wir die Beweise für Sie nach.",
        "Each access is in a log that nobody can change afterwards without being noticed. "
        "Here we check the proofs for you.",
    ),
    "verify_holds": Text(
        "{count} Einträge geprüft, alle Beweise stimmen.", "{count} entries checked, all proofs hold."),
    "verify_unsealed": Text(
        "{count} ganz neue Einträge sind noch nicht versiegelt; das dauert wenige Sekunden.",
        "{count} very new entries are not sealed yet; that takes a few seconds.",
    ),
    "verify_empty": Text("Kein Eintrag in diesem Monat.", "No entry in this month."),
    "verify_fails": Text(
        "Achtung: Ein Beweis stimmt nicht. Bewahren Sie die Datei auf und wenden Sie sich an die Datenschutzaufsicht.",
        "Attention: a proof does not hold. Keep the file and contact the data protection authority.",
    ),
    "verify_unreachable": Text("Nicht erreichbar; später erneut prüfen.", "Not reachable; check again later."),
    "verify_own_title": Text("Selbst nachrechnen", "Check it yourself"),
    "verify_own_text": Text(
        "Unser Server könnte Ihnen etwas vormachen. Laden Sie darum die Dateien herunter und öffnen Sie die "
        "Prüfseite auf Ihrem Gerät, auch ohne Internet. Dort öffnen Sie die Beweisdatei.",
        "Our server could deceive you. So download the files and open the verifier on your own device, even without "
        "internet. There, open the file with the proofs.",
    ),
    "download_verifier": Text("Prüfseite herunterladen", "Download the verifier"),
    # Errors
    "error_title": Text("Das hat nicht geklappt", "That did not work"),
    "error_number": Text("Fehlernummer", "Error number"),
    "error_not_found": Text("Diese Seite gibt es nicht.", "There is no such page."),
    "error_form_refused": Text(
        "Das Formular war nicht mehr gültig. Bitte gehen Sie zurück und senden Sie es noch einmal.",
        "The form was no longer valid. Please go back and send it again.",
    ),
    "error_login_refused": Text(
        "Die Anmeldung konnte nicht bestätigt werden. Bitte melden Sie sich noch einmal an.",
        "The login could not be confirmed. Please log in again.",
    ),
    "error_identity_level_too_low": Text(
        "Dafür ist eine stärkere Anmeldung nötig.", "This needs a login with a higher identity level."
    ),
    "error_invalid_request": Text(
        "Bitte prüfen Sie Ihre Eingabe: {field}", "Please check what you entered: {field}"
    ),
    "error_consent_conflict": Text(
        "Diese Entscheidung ist schon getroffen oder nicht mehr möglich. Bitte sehen Sie bei den Einwilligungen nach.",
        "This decision has been made already or is no longer possible. Please look at your consents.",
    ),
    "error_service_disabled": Text(
        "Die Stelle bietet diesen Dienst gerade nicht an.",
        "The institution does not offer this service at the moment.",
    ),
    "error_issuer_unavailable": Text(
        "Die Anmeldestelle antwortet gerade nicht. Bitte versuchen Sie es in einigen Minuten erneut.",
        "The login service does not answer at the moment. Please try again in a few minutes.",
    ),
    "error_road_unavailable": Text(
        "Das Gateway antwortet gerade nicht. Bitte versuchen Sie es in einigen Minuten erneut.",
        "The gateway does not answer at the moment. Please try again in a few minutes.",
    ),
    "error_too_many_attempts": Text(
        "Zu viele Versuche. Bitte warten Sie einen Moment.", "Too many attempts. Please wait a moment."
    ),
    "error_internal_error": Text(
        "Bei uns ist ein Fehler aufgetreten. Bitte versuchen Sie es später erneut.",
        "Something failed on our side. Please try again later.",
    ),
    "back_home": Text("Zur Startseite", "Back to the start page"),
}  # fmt: skip


def text(key: str, language: str, **values: object) -> str:
    """A text with its placeholders filled. `language` is "de" or "en"."""
    found = TEXTS[key]
    return (found.en if language == "en" else found.de).format(**values)


def fault_text(code: str, language: str) -> str:
    """What one of the road's errors means for the citizen; empty if there is nothing plainer than the code."""
    key = f"fault_{code.rpartition('.')[2]}"
    return text(key, language) if key in TEXTS else ""


def categories_text(codes: Iterable[str], language: str) -> str:
    """Categories of data in words, as far as they are known."""
    keys = ((code, f"category_{code}") for code in codes)
    return ", ".join(text(key, language) if key in TEXTS else code for code, key in keys) or text(
        "not_stated", language
    )
