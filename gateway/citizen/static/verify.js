// Checks the month's proofs in this browser: asks for each log's bundle, runs the same verifier as the file to take home,
// and remembers how far each log had come, so that the next visit sees whether it went on from there.
//
// Sentences come from the page (`#texts`), in its language; whatever a log says goes in as text, never as markup.

import { verifyBundle } from "/verify/verifier.js";

// What earlier visits saw: {origin: {size, root, vkey}}. A browser that keeps nothing compares nothing, and says "first".
const MEMORY = "datenweg-seen";
const HOUR = 3600000;
const texts = new Map([...document.querySelectorAll("#texts [data-key]")].map((one) => [one.dataset.key, one.textContent]));

function say(key, facts = {}) {
  return (texts.get(key) ?? key).replace(/\{(\w+)\}/g, (all, name) => facts[name] ?? all);
}

function seenBefore() {
  try {
    return JSON.parse(localStorage.getItem(MEMORY)) ?? {};
  } catch {
    return {};
  }
}

function remember(origin, state) {
  try {
    localStorage.setItem(MEMORY, JSON.stringify({ ...seenBefore(), [origin]: state }));
  } catch {
    // A browser that keeps nothing.
  }
}

async function load(address) {
  const answer = await fetch(address, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
}

// Without keys of the operator's policy, those seen at the first visit count: another key is then no slip.
function trusted(policy, bundle, before) {
  const vkeys = policy.vkeys.length > 0 || policy.policy ? policy.vkeys : [before?.vkey ?? bundle.vkey];
  return { vkeys, policy: policy.policy || undefined, seen: seenBefore() };
}

function lines(result, bundle) {
  const language = document.documentElement.lang;
  const time = (at) => new Date(at).toLocaleString(language);
  if (!result.ok) return [say("bad"), ...result.failures.map((one) => `${one[language] ?? one.en} [${one.code}]`)];
  const said = [say("good", { count: result.accesses.length, size: result.size })];
  if (bundle.month_key !== null) {
    const { index } = result;
    said.push(index ? say("counted", { count: index.counted, time: time(index.time) }) : say("uncounted"));
  }
  if (result.confirmations.length > 0) {
    const newest = Math.max(...result.confirmations.map((one) => one.time));
    said.push(say("confirmed", { names: result.confirmations.map((one) => one.name).join(", "), time: time(newest) }));
    if (Date.now() - newest > HOUR) said.push(say("stale"));
  } else {
    said.push(say("alone"));
  }
  said.push(say(`visit_${result.visit}`));
  if (result.unsealed) said.push(say("unsealed", { count: result.unsealed }));
  if (result.erased) said.push(say("erased", { count: result.erased }));
  return said;
}

function show(place, state, said) {
  place.className = state;
  place.replaceChildren(
    ...said.map((line, at) => {
      const made = document.createElement("p");
      if (at === 0) made.className = state;
      made.textContent = line;
      return made;
    }),
  );
  place.dataset.state = state;
}

// Everything that an authority needs to see the same failure, as a file; the same as the verifier's own page gives.
function report(result, bundle, policy) {
  const content = JSON.stringify({ checked: new Date().toISOString(), failures: result.failures, policy, bundle }, null, 1);
  const link = document.createElement("a");
  link.textContent = say("report");
  link.href = URL.createObjectURL(new Blob([content], { type: "application/json" }));
  link.download = "datenweg-report.json";
  return link;
}

async function check(place, policy) {
  const address = new URL(place.dataset.bundle, location.href);
  const before = seenBefore()[place.dataset.origin];
  if (before) address.searchParams.set("seen", before.size);
  try {
    const bundle = await load(address);
    const rules = trusted(policy, bundle, before);
    const result = await verifyBundle(bundle, rules);
    // An unproven continuation must not replace what it is to be compared with.
    if (result.ok && result.visit !== "unproven") {
      remember(bundle.origin, { size: result.size, root: result.root, vkey: before?.vkey ?? bundle.vkey });
    }
    show(place, result.ok ? "good" : "bad", lines(result, bundle));
    if (!result.ok) place.append(report(result, bundle, rules));
    return result.ok;
  } catch {
    show(place, "warning", [say("unreachable")]);
    return false;
  }
}

async function checkAll() {
  const places = [...document.querySelectorAll("[data-bundle]")];
  const outcome = document.getElementById("browser-outcome");
  outcome.hidden = false;
  document.getElementById("no-script").hidden = true;
  const policy = await load("/verify/policy.json");
  const held = [];
  // One after another: each log's own state is remembered before the next is looked at.
  for (const place of places) held.push(await check(place, policy));
  const good = held.every(Boolean);
  show(outcome, good ? "good" : "bad", [say(good ? "all_good" : "some_bad", { count: held.length })]);
}

checkAll().catch(() => show(document.getElementById("browser-outcome"), "warning", [say("unreachable")]));
