// The page around the verifier: takes a file, shows what came out. Text goes in as text, never as markup.

const counted = (count, one, many) => `${count} ${count === 1 ? one : many}`;

const TEXTS = {
  de: {
    title: "Zugriffe auf meine Daten prüfen",
    intro:
      "Wählen Sie die Datei mit Ihrem Zugriffsnachweis. Geprüft wird nur in diesem Browser; es wird nichts gesendet.",
    choose: "Zugriffsnachweis (.json)",
    good: (result, month) =>
      `${counted(result.accesses.length, "Zugriff", "Zugriffe")} im Monat ${month}: lückenlos bis zum letzten gezeigten, unverändert, im unterschriebenen Protokoll (${counted(result.size, "Eintrag", "Einträge")}).`,
    counted: (index, time) =>
      `Das Protokoll selbst zählte ${index.counted} am ${time}: Bis dahin fehlt keiner, auch am Ende nicht.`,
    uncounted: "Dieser Monat ist noch nicht ausgezählt: Dass ganz am Ende nichts fehlt, zeigt sich erst nach Tagesende.",
    confirmed: (names, time) => `Bestätigt von ${names}, zuletzt ${time}.`,
    stale: "Diese Bestätigung ist älter als eine Stunde.",
    alone: "Kein unabhängiger Zeuge hat das Protokoll bestätigt: Diese Seite verlangt keinen.",
    visits: {
      first: "Der Stand wird in diesem Browser gemerkt und beim nächsten Besuch verglichen.",
      same: "Das Protokoll steht wie bei Ihrem letzten Besuch.",
      extended: "Das Protokoll setzt fort, was Sie beim letzten Besuch gesehen haben.",
      unproven:
        "Ob es fortsetzt, was Sie beim letzten Besuch gesehen haben, ist noch offen: Laden Sie den Nachweis mit diesem Stand neu:",
    },
    limits: "Nicht erkennen lässt sich, wenn beide beteiligten Stellen gemeinsam an diesem Weg vorbei handeln.",
    complete: "Vollständig bis auf Zugriffe, die das Gesetz noch geheim hält.",
    withheld: (count, day) =>
      `Nach eigener Angabe hält dieses Protokoll für den ${day} ${counted(count, "Zugriff", "Zugriffe")} auf Daten irgendwelcher Personen geheim.`,
    released: (time) => `Zuerst vom Gesetz geheim gehalten, freigegeben am ${time}; seitdem und bis dahin unverändert.`,
    report: "Datei für die Datenschutzaufsicht speichern",
    bad: "Die Prüfung ist gescheitert:",
    at: "Eintrag",
    unsealed: (count) => `So neu, dass der nächste Prüfpunkt sie erst noch festhält: ${count}.`,
    erased: (count) => `Zu ${counted(count, "Zugriff", "Zugriffen")} sind die Angaben nach Ablauf der Frist gelöscht.`,
    time: "Zeit",
    details: "Angaben",
    gone: "gelöscht",
    raw: "Alle Angaben, wie sie im Protokoll stehen",
    fields: {
      result: "Ergebnis",
      client: "Wer hat gefragt",
      provider: "Bei wem",
      purpose: "Wofür",
      legalBasis: "Rechtsgrundlage",
      reason: "Grund",
      requestId: "Vorgangsnummer",
    },
    results: {
      delivered: "Daten übermittelt",
      denied: "Abgelehnt: Es wurden keine Daten übermittelt",
      failed: "Fehlgeschlagen: Es wurden keine Daten übermittelt",
    },
    switch: "English",
  },
  en: {
    title: "Check the accesses to my data",
    intro: "Choose the file with your proof of accesses. It is checked in this browser only; nothing is sent.",
    choose: "Proof of accesses (.json)",
    good: (result, month) =>
      `${counted(result.accesses.length, "access", "accesses")} in ${month}: none missing up to the last one shown, unchanged, in the signed log (${counted(result.size, "entry", "entries")}).`,
    counted: (index, time) => `The log itself counted ${index.counted} on ${time}: none is missing until then, not at the end either.`,
    uncounted: "This month has not been counted yet: that nothing is missing at the very end shows after the day is over.",
    confirmed: (names, time) => `Confirmed by ${names}, last on ${time}.`,
    stale: "This confirmation is older than an hour.",
    alone: "No independent witness has confirmed the log: this page demands none.",
    visits: {
      first: "This state is remembered in this browser and compared on your next visit.",
      same: "The log stands as on your last visit.",
      extended: "The log continues what you saw on your last visit.",
      unproven: "Whether it continues what you saw on your last visit is open: download the proof again with this state:",
    },
    limits: "It can't be seen when both parties together act outside of this road.",
    complete: "Complete, except for accesses that the law still withholds.",
    withheld: (count, day) =>
      `By its own account this log withholds ${counted(count, "access", "accesses")} to anybody's data for ${day}.`,
    released: (time) => `Withheld by law at first, released on ${time}; unchanged until then and since.`,
    report: "Save a file for the data protection authority",
    bad: "The check failed:",
    at: "entry",
    unsealed: (count) => `So new that the next checkpoint has yet to cover them: ${count}.`,
    erased: (count) => `The details of ${counted(count, "access", "accesses")} were deleted when their time was up.`,
    time: "Time",
    details: "Details",
    gone: "deleted",
    raw: "All details as they are in the log",
    fields: {
      result: "Result",
      client: "Who asked",
      provider: "From whom",
      purpose: "What for",
      legalBasis: "Legal basis",
      reason: "Reason",
      requestId: "Request number",
    },
    results: {
      delivered: "Data handed over",
      denied: "Refused: no data was handed over",
      failed: "Failed: no data was handed over",
    },
    switch: "Deutsch",
  },
};

const policy = JSON.parse(document.getElementById("policy").textContent);
let language = navigator.language.startsWith("de") ? "de" : "en";
let last = null;

// What earlier visits saw of each log. A browser that keeps nothing compares nothing, and says so by "first".
const MEMORY = "datenweg-seen";
const HOUR = 3600000;

function seenBefore() {
  try {
    return JSON.parse(localStorage.getItem(MEMORY)) ?? {};
  } catch {
    return {};
  }
}

function remember(origin, { size, root }) {
  try {
    localStorage.setItem(MEMORY, JSON.stringify({ ...seenBefore(), [origin]: { size, root } }));
  } catch {
    // A browser that keeps nothing.
  }
}

function element(name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function show() {
  const texts = TEXTS[language];
  document.documentElement.lang = language;
  document.title = texts.title;
  for (const name of ["title", "intro", "choose", "switch"]) document.getElementById(name).textContent = texts[name];
  const output = document.getElementById("result");
  output.replaceChildren();
  if (last === null) return;
  const { result, month, bundle, seen } = last;
  output.className = result.ok ? "good" : "bad";
  output.append(element("p", result.ok ? texts.good(result, month) : texts.bad));
  for (const failure of result.failures) {
    const where = failure.index === null ? "" : ` (${texts.at} ${failure.index})`;
    output.append(element("p", `${failure[language]}${where} [${failure.code}]`));
  }
  if (result.ok) output.append(...assured(result, texts, bundle, seen));
  else output.append(report(result, bundle, texts));
  if (result.unsealed) output.append(element("p", texts.unsealed(result.unsealed)));
  if (result.erased) output.append(element("p", texts.erased(result.erased)));
  if (result.ok && result.accesses.length) output.append(table(result.accesses, texts));
}

// What a good result rests on, and what it can't say.
function assured(result, texts, bundle, seen) {
  const time = (at) => new Date(at).toLocaleString(language);
  const lines = [];
  if (bundle.month_key !== null) lines.push(result.index ? texts.counted(result.index, time(result.index.time)) : texts.uncounted);
  if (result.confirmations.length > 0) {
    const newest = Math.max(...result.confirmations.map((one) => one.time));
    lines.push(texts.confirmed(result.confirmations.map((one) => one.name).join(", "), time(newest)));
    if (Date.now() - newest > HOUR) lines.push(texts.stale);
  } else {
    lines.push(texts.alone);
  }
  const state = result.visit === "unproven" ? ` seen=${seen[bundle.origin].size}` : "";
  lines.push(texts.visits[result.visit] + state, texts.complete, ...withheldDays(bundle, texts), texts.limits);
  return lines.map((line) => element("p", line));
}

// What the log says of itself, without a proof: how many accesses to anybody's data it withholds, by day.
function withheldDays({ withheld }, texts) {
  const days = Array.isArray(withheld) ? withheld.slice(0, 31) : [];
  const stated = days.filter((one) => Number.isSafeInteger(one?.accesses) && /^\d{4}-\d{2}-\d{2}$/.test(one.day));
  return stated.map((one) => texts.withheld(one.accesses, new Date(one.day).toLocaleDateString(language, { timeZone: "UTC" })));
}

// Everything that an authority needs to see the same failure, as a file.
function report(result, bundle, texts) {
  const content = JSON.stringify({ checked: new Date().toISOString(), failures: result.failures, policy, bundle }, null, 1);
  const link = element("a", texts.report);
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = "datenweg-report.json";
  return link;
}

function table(accesses, texts) {
  const made = document.createElement("table");
  const head = made.createTHead().insertRow();
  for (const text of [texts.time, texts.details]) {
    const cell = element("th", text);
    cell.scope = "col";
    head.append(cell);
  }
  const body = made.createTBody();
  for (const access of accesses) {
    const row = body.insertRow();
    row.append(element("td", new Date(access.time).toLocaleString(language)));
    const cell = element("td", access.details === null ? texts.gone : "");
    if (access.released !== null) cell.append(element("p", texts.released(new Date(access.released).toLocaleString(language))));
    if (access.details !== null) cell.append(...described(access.details, texts));
    row.append(cell);
  }
  return made;
}

// A record's text: in the chosen language, else in German, else a name or identifier; empty for whatever is no text.
function plain(value) {
  const isObject = typeof value === "object" && value !== null;
  const found = isObject ? (value[language] ?? value.de ?? value.name ?? value.text ?? value.id) : value;
  return typeof found === "string" ? found : "";
}

function described(details, texts) {
  let record = {};
  try {
    record = JSON.parse(details) ?? {};
  } catch {
    // Not JSON: shown as it is.
  }
  const list = document.createElement("dl");
  for (const [name, label] of Object.entries(texts.fields)) {
    const text = plain(record[name]);
    const known = name === "result" && Object.hasOwn(texts.results, text) ? texts.results[text] : text;
    if (text) list.append(element("dt", label), element("dd", known));
  }
  const raw = document.createElement("details");
  raw.append(element("summary", texts.raw), element("code", details));
  return [element("strong", plain(record.service?.title) || plain(record.service)), list, raw];
}

document.getElementById("file").addEventListener("change", async (event) => {
  const file = event.target.files[0];
  if (!file) return;
  let bundle = null;
  try {
    bundle = JSON.parse(await file.text());
  } catch {
    // Not JSON: verifyBundle says so.
  }
  const seen = seenBefore();
  const result = await verifyBundle(bundle, { ...policy, seen });
  // An unproven continuation must not replace what it is to be compared with.
  if (result.ok && result.visit !== "unproven") remember(bundle.origin, result);
  last = { result, month: String(bundle?.month ?? ""), bundle, seen };
  show();
});
document.getElementById("switch").addEventListener("click", () => {
  language = language === "de" ? "en" : "de";
  show();
});
show();
