// The page around the verifier: takes a file, shows what came out. Text goes in as text, never as markup.

const TEXTS = {
  de: {
    title: "Zugriffe auf meine Daten prüfen",
    intro:
      "Wählen Sie die Datei mit Ihrem Zugriffsnachweis. Geprüft wird nur in diesem Browser; es wird nichts gesendet.",
    choose: "Zugriffsnachweis (.json)",
    good: (result, month) =>
      `${result.accesses.length} Zugriffe im Monat ${month}: lückenlos bis zum letzten gezeigten, unverändert, im unterschriebenen Protokoll (${result.size} Einträge).`,
    bad: "Die Prüfung ist gescheitert:",
    at: "Eintrag",
    unsealed: (count) => `${count} davon sind so neu, dass der nächste Prüfpunkt sie erst noch festhält.`,
    erased: (count) => `Zu ${count} Zugriffen sind die Angaben nach Ablauf der Frist gelöscht.`,
    time: "Zeit",
    details: "Angaben",
    gone: "gelöscht",
    switch: "English",
  },
  en: {
    title: "Check the accesses to my data",
    intro: "Choose the file with your proof of accesses. It is checked in this browser only; nothing is sent.",
    choose: "Proof of accesses (.json)",
    good: (result, month) =>
      `${result.accesses.length} accesses in ${month}: none missing up to the last one shown, unchanged, in the signed log (${result.size} entries).`,
    bad: "The check failed:",
    at: "entry",
    unsealed: (count) => `${count} of them are so new that the next checkpoint has yet to cover them.`,
    erased: (count) => `The details of ${count} accesses were deleted when their time was up.`,
    time: "Time",
    details: "Details",
    gone: "deleted",
    switch: "Deutsch",
  },
};

const policy = JSON.parse(document.getElementById("policy").textContent);
let language = navigator.language.startsWith("de") ? "de" : "en";
let last = null;

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
  const { result, month } = last;
  output.className = result.ok ? "good" : "bad";
  output.append(element("p", result.ok ? texts.good(result, month) : texts.bad));
  for (const failure of result.failures) {
    const where = failure.index === null ? "" : ` (${texts.at} ${failure.index})`;
    output.append(element("p", `${failure[language]}${where} [${failure.code}]`));
  }
  if (result.unsealed) output.append(element("p", texts.unsealed(result.unsealed)));
  if (result.erased) output.append(element("p", texts.erased(result.erased)));
  if (result.ok && result.accesses.length) output.append(table(result.accesses, texts));
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
    row.append(element("td", access.details ?? texts.gone));
  }
  return made;
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
  last = { result: await verifyBundle(bundle, policy), month: String(bundle?.month ?? "") };
  show();
});
document.getElementById("switch").addEventListener("click", () => {
  language = language === "de" ? "en" : "de";
  show();
});
show();
