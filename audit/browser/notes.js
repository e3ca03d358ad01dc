// Who has signed: C2SP signed-note, tlog-checkpoint, tlog-cosignature and tlog-policy, with Ed25519.

import { Failure, encoder, equal, fromBase64, joined, sha256, subtle } from "./tree.js";

const ED25519 = 1;
const COSIGNATURE = 4;
// Known, but not verified here: WebCrypto has no ML-DSA yet. Such a log needs another key, such a witness doesn't count.
const MLDSA = 6;
const CHECKPOINT = /^([^\n]{1,255})\n(0|[1-9]\d{0,15})\n([A-Za-z0-9+/]{43}=)\n(?:[^\n]+\n)*$/;
const SIGNATURE = /^\u2014 ([^\s+]{1,255}) ([A-Za-z0-9+/]+={0,2})$/;

// signed-note: a vkey is `name+hex(key id)+base64(type || public key)`; type 1 is Ed25519, type 4 a witness's Ed25519, type
// 6 either's ML-DSA-44.
async function parseKey(text) {
  const [, name, id, encoded] = /^([^\s+]{1,255})\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? [];
  if (name === undefined) throw new Failure("key_unknown");
  const data = fromBase64(encoded);
  const hashed = await keyId(name, data);
  const hex = Array.from(hashed, (byte) => byte.toString(16).padStart(2, "0")).join("");
  const fits = [ED25519, COSIGNATURE].includes(data[0]) ? data.length === 33 : data[0] === MLDSA;
  if (!fits || hex !== id) throw new Failure("key_unknown");
  return { name, id: hashed, kind: data[0], key: data.slice(1) };
}

async function keyId(name, data) {
  return (await sha256(encoder.encode(`${name}\n`), data)).slice(0, 4);
}

// The keys that count for a log: those under its name, or of its other years. A log keeps its key at New Year, and changes
// only the year at the end of its name.
async function keysOf(vkeys, origin) {
  const keeper = (name) => /^(.+)\/\d{4}$/.exec(name)?.[1] ?? name;
  const named = vkeys.filter((vkey) => keeper(vkey.slice(0, vkey.indexOf("+"))) === keeper(origin));
  const keys = (await Promise.all(named.map(parseKey))).filter((key) => key.kind === ED25519);
  const renamed = keys.map(async (key) => ({ ...key, name: origin, id: await keyId(origin, joined([key.kind], key.key)) }));
  return Promise.all(renamed);
}

// tlog-policy: `log`, `witness`, `group` and `quorum` lines; each name is defined before it is used.
async function parsePolicy(text) {
  const malformed = () => {
    throw new Failure("policy_malformed");
  };
  const rules = { vkeys: [], witnesses: new Map(), groups: new Map(), quorum: null };
  const isDefined = (name) => rules.witnesses.has(name) || rules.groups.has(name);
  let hasQuorum = false;
  for (const line of text.split("\n")) {
    const words = line.trim().split(/\s+/);
    if (words[0] === "" || words[0].startsWith("#")) continue;
    const [kind, name, value, ...rest] = words;
    if (kind === "log" && words.length <= 3) {
      rules.vkeys.push(name);
    } else if (kind === "witness" && words.length >= 3 && words.length <= 4 && !isDefined(name)) {
      const key = await parseKey(value);
      if (![COSIGNATURE, MLDSA].includes(key.kind)) malformed();
      rules.witnesses.set(name, key);
    } else if (kind === "group" && rest.length > 0 && !isDefined(name)) {
      const threshold = value === "any" ? 1 : value === "all" ? rest.length : Number(value);
      const fits = Number.isInteger(threshold) && threshold >= 1 && threshold <= rest.length;
      if (!fits || !rest.every(isDefined) || new Set(rest).size !== rest.length) malformed();
      rules.groups.set(name, { threshold, members: rest });
    } else if (kind === "quorum" && words.length === 2 && !hasQuorum && (name === "none" || isDefined(name))) {
      hasQuorum = true;
      rules.quorum = name === "none" ? null : name;
    } else {
      malformed();
    }
  }
  if (!hasQuorum) malformed();
  return rules;
}

function isQuorum(rules, present) {
  const holds = (name) => {
    const group = rules.groups.get(name);
    return group ? group.members.filter(holds).length >= group.threshold : present.has(name);
  };
  return rules.quorum === null || holds(rules.quorum);
}

async function verifyEd25519(key, signature, message) {
  const imported = await subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
  if (!(await subtle.verify({ name: "Ed25519" }, imported, signature, message))) throw new Failure("signature_invalid");
}

// A note's text and its signature lines, not verified.
function parseNote(note) {
  const at = typeof note === "string" ? note.lastIndexOf("\n\n") : -1;
  if (at < 0 || !note.endsWith("\n")) throw new Failure("note_malformed");
  const signatures = note.slice(at + 2, -1).split("\n").map((line) => {
    const match = SIGNATURE.exec(line);
    if (!match) throw new Failure("note_malformed");
    const data = fromBase64(match[2]);
    return { name: match[1], id: data.slice(0, 4), signature: data.slice(4) };
  });
  return { text: note.slice(0, at + 1), signatures };
}

function signedBy(signatures, key) {
  return signatures.filter((line) => line.name === key.name && equal(line.id, key.id));
}

async function verifyNote(note, keys) {
  const { text, signatures } = parseNote(note);
  let signed = false;
  for (const key of keys) {
    for (const line of signedBy(signatures, key)) {
      await verifyEd25519(key.key, line.signature, encoder.encode(text));
      signed = true;
    }
  }
  if (!signed) throw new Failure("key_unknown");
  return text;
}

// tlog-cosignature: eight bytes of POSIX seconds, then Ed25519 over the time and the whole text.
async function verifyQuorum(note, rules) {
  const { text, signatures } = parseNote(note);
  const confirmations = [];
  for (const [name, key] of rules.witnesses) {
    if (key.kind !== COSIGNATURE) continue;
    for (const line of signedBy(signatures, key)) {
      if (line.signature.length !== 72) throw new Failure("note_malformed");
      const time = Number(new DataView(line.signature.buffer, line.signature.byteOffset).getBigUint64(0));
      const message = encoder.encode(`cosignature/v1\ntime ${time}\n${text}`);
      await verifyEd25519(key.key, line.signature.slice(8), message);
      confirmations.push({ name, time: time * 1000 });
    }
  }
  if (!isQuorum(rules, new Set(confirmations.map((one) => one.name)))) throw new Failure("quorum_missing");
  return confirmations;
}

// A log's signed tree: {size, root, confirmations, known}. `policy` is that of verifyBundle.
export async function verifyCheckpoint(origin, note, policy) {
  const rules = policy.policy ? await parsePolicy(policy.policy) : null;
  const keys = await keysOf([...policy.vkeys, ...(rules?.vkeys ?? [])], origin);
  if (keys.length === 0) throw new Failure("key_unknown");
  const match = CHECKPOINT.exec(await verifyNote(note, keys));
  if (!match) throw new Failure("note_malformed");
  if (match[1] !== origin) throw new Failure("origin_differs");
  const confirmations = rules === null ? [] : await verifyQuorum(note, rules);
  return { size: Number(match[2]), root: fromBase64(match[3]), confirmations, known: new Map() };
}
