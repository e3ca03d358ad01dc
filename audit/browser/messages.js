// What each failure means, in plain German and English.

export const MESSAGES = {
  bundle_malformed: {
    de: "Die Datei ist kein Zugriffsnachweis dieser Art.",
    en: "The file is not a proof of accesses of this kind.",
  },
  key_unknown: {
    de: "Der Schlüssel dieses Protokolls steht nicht in der Liste, der diese Seite vertraut.",
    en: "This log's key is not in the list that this page trusts.",
  },
  note_malformed: { de: "Der Prüfpunkt ist beschädigt.", en: "The checkpoint is damaged." },
  signature_invalid: {
    de: "Die Unterschrift unter dem Prüfpunkt ist falsch.",
    en: "The signature under the checkpoint does not hold.",
  },
  origin_differs: {
    de: "Der Prüfpunkt gehört zu einem anderen Protokoll.",
    en: "The checkpoint belongs to another log.",
  },
  leaf_malformed: { de: "Ein Eintrag ist beschädigt.", en: "An entry is damaged." },
  tag_differs: { de: "Ein Eintrag gehört zu einer anderen Person.", en: "An entry belongs to another person." },
  month_differs: { de: "Ein Eintrag gehört zu einem anderen Monat.", en: "An entry belongs to another month." },
  entry_missing: { de: "In der Reihe der Einträge fehlt einer.", en: "An entry is missing from the row." },
  chain_broken: { de: "Ein Eintrag schließt nicht an den vorigen an.", en: "An entry does not join the one before." },
  time_runs_backwards: { de: "Ein Eintrag ist älter als der vorige.", en: "An entry is older than the one before." },
  proof_missing: {
    de: "Zu einem Eintrag fehlt der Beweis, dass er im Protokoll steht.",
    en: "The proof that an entry is in the log is missing.",
  },
  not_in_log: {
    de: "Ein Eintrag steht so nicht im unterschriebenen Protokoll.",
    en: "An entry is not in the signed log as shown.",
  },
  policy_malformed: {
    de: "Die Regel, welche Zeugen diese Seite verlangt, ist beschädigt.",
    en: "The rule which witnesses this page demands is damaged.",
  },
  quorum_missing: {
    de: "Zu wenige unabhängige Zeugen haben dieses Protokoll bestätigt.",
    en: "Too few independent witnesses have confirmed this log.",
  },
  log_shrunk: {
    de: "Das Protokoll ist kürzer als bei Ihrem letzten Besuch: Es wurde zurückgesetzt.",
    en: "The log is shorter than on your last visit: it was rolled back.",
  },
  history_differs: {
    de: "Das Protokoll ist nicht die Fortsetzung dessen, was Sie beim letzten Besuch gesehen haben.",
    en: "The log does not continue what you saw on your last visit.",
  },
  index_malformed: { de: "Das Monatsverzeichnis ist beschädigt.", en: "The month's index is damaged." },
  index_differs: {
    de: "Das Monatsverzeichnis des Protokolls nennt andere Zugriffe als diese Liste: Es fehlen welche.",
    en: "The log's index of the month counts other accesses than this list: some are missing.",
  },
  release_differs: {
    de: "Ein freigegebener Zugriff ist nicht der, der zurückgehalten wurde: Er wurde inzwischen verändert.",
    en: "A released access is not the one that was withheld: it was changed in the meantime.",
  },
  release_unproven: {
    de: "Zu einem freigegebenen Zugriff fehlt der Beweis, dass er schon im Protokoll stand, als er zurückgehalten wurde.",
    en: "The proof that a released access was in the log when it was withheld is missing.",
  },
  record_changed: { de: "Die Angaben zu einem Zugriff wurden verändert.", en: "The details of an access were changed." },
};
