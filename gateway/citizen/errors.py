"""The error tree of `gateway.citizen`.

    CitizenError
    ├── NotLoggedIn            no session, or one that has ended                    (the browser's fault: log in)
    │   └── TokenRefused       an app's token or its proof doesn't hold             (the app's fault: see `challenge`)
    ├── FormRefused            a POST without this session's CSRF token              (the browser's fault)
    ├── LoginRefused           the answer of the issuer does not hold                (the peer's fault)
    │   ├── LoginTooWeak       the login doesn't reach the level that was asked for  (nobody's: stronger means)
    │   └── LoginCancelled     the citizen has broken the login off                  (nobody's)
    ├── LevelTooLow            the login proves less than the service asks           (nobody's: step up)
    ├── InvalidRequest         what was sent is not what was asked for               (the caller's fault)
    │   └── WrongContentType   the body is of a kind that isn't read here            (the caller's fault)
    ├── UnknownThing           no such service, consent, page                        (the caller's fault)
    ├── ConsentConflict        a consent for this is in force already, or has ended  (the caller's fault)
    ├── LinkConflict           an account is linked for this service already        (the caller's fault)
    ├── LinkEnding             the account's link has been ended                    (the caller's fault)
    ├── ComplaintLimit         too many complaints of this person wait              (the caller's fault: wait)
    ├── RepresentationRefused  nothing says that the citizen may act for the person (the caller's fault)
    │   └── RepresentationEnded nor any longer for whom they chose                   (nobody's)
    ├── ServiceDisabled        the provider has taken the service out of use         (nobody's: try again)
    ├── IssuerDown             the issuer does not answer                            (nobody's: try again)
    └── RoadDown               our own gateway does not answer, or not as a gateway  (ours: try again)

Each has a fixed `code`; `web.problem_of` turns it into problem details (RFC 9457), the pages into a sentence of
`texts`. `str(error)` is for developers and never shown.
"""

from __future__ import annotations


class CitizenError(Exception):
    """Whatever `gateway.citizen` raises. `code` names it to callers, `status` is its HTTP status."""

    code = "internal_error"
    status = 500


class NotLoggedIn(CitizenError):
    """No session, or one that has ended."""

    code = "not_logged_in"
    status = 401


class TokenRefused(NotLoggedIn):
    """An app's token or the proof that comes with it doesn't hold.

    `challenge` is the value of WWW-Authenticate (RFC 6750 section 3, RFC 9449 section 7.1); `nonce` the one to use.
    """

    def __init__(self, reason: str, *, challenge: str, nonce: str = "") -> None:
        super().__init__(reason)
        self.challenge = challenge
        self.nonce = nonce


class FormRefused(CitizenError):
    """A POST that doesn't come from one of our own pages of this session."""

    code = "form_refused"
    status = 403


class LoginRefused(CitizenError):
    """The issuer's answer does not hold: forged, expired, for another login. `reason` is a fixed word."""

    code = "login_refused"
    status = 400

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class LoginTooWeak(LoginRefused):
    """The login doesn't reach the level that was asked for: the citizen has no means for it, or used another."""

    code = "login_too_weak"


class LoginCancelled(LoginRefused):
    """The citizen has broken the login off at the issuer (RFC 6749 section 4.1.2.1, `access_denied`)."""

    code = "login_cancelled"


class LevelTooLow(CitizenError):
    """The login proves less than what the service asks; `required` is the level's word."""

    code = "identity_level_too_low"
    status = 403

    def __init__(self, required: str) -> None:
        super().__init__(required)
        self.required = required


class InvalidRequest(CitizenError):
    """What was sent is not what was asked for; `field` names the place, never its value."""

    code = "invalid_request"
    status = 400

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class WrongContentType(InvalidRequest):
    """The body is of a kind that isn't read here (RFC 9110 section 15.5.16)."""

    status = 415


class UnknownThing(CitizenError):
    """No such service, consent or page for this citizen."""

    code = "not_found"
    status = 404


class ConsentConflict(CitizenError):
    """A consent for this purpose is in force already, or the consent has ended."""

    code = "consent_conflict"
    status = 409


class LinkConflict(CitizenError):
    """An account is linked for this service already."""

    code = "link_conflict"
    status = 409


class LinkEnding(CitizenError):
    """The citizen has ended the account's link, and its institution has not confirmed that yet."""

    code = "link_ending"
    status = 409


class ComplaintLimit(CitizenError):
    """Too many complaints of this person wait for an answer."""

    code = "complaint_limit"
    status = 409


class RepresentationRefused(CitizenError):
    """Nothing says that the citizen may act for the person whom they named, or not in this."""

    code = "representation_refused"
    status = 403


class RepresentationEnded(RepresentationRefused):
    """The citizen chose to act for somebody, and nothing says any longer that they may."""

    code = "representation_ended"


class ServiceDisabled(CitizenError):
    """The provider has taken the service out of use."""

    code = "service_disabled"
    status = 409


class IssuerDown(CitizenError):
    """The issuer does not answer. Trying again may help."""

    code = "issuer_unavailable"
    status = 502


class RoadDown(CitizenError):
    """Our own gateway does not answer, or not as a gateway does. Trying again may help."""

    code = "road_unavailable"
    status = 502
