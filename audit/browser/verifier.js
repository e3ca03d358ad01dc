// Verifies a citizen's bundle of accesses with WebCrypto alone: SHA-256, HMAC and Ed25519.
//
// Formats: C2SP signed-note, tlog-checkpoint, tlog-cosignature and tlog-policy, RFC 9162 sections 2.1.3.2 and 2.1.4.2, and
// the leaf, tag, commitment and month's index of this log. Trusts nothing in the bundle but what the keys in `policy`
// signed. Pure: bundle and policy in, result out; the same functions run in the page and in the tests.
//
// policy: {vkeys, policy?, seen?}. `policy` is a tlog-policy's text: with it a quorum of its witnesses must have cosigned.
// `seen` is what earlier visits saw, {origin: {size, root}}.

const MESSAGES = {
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
  record_changed: { de: "Die Angaben zu einem Zugriff wurden verändert.", en: "The details of an access were changed." },
};

const HASH = "([A-Za-z0-9+/]{43}=)";
const LEAF = new RegExp(
  `^\\{"c":"${HASH}","k":"(?:access|release)","m":"${HASH}","n":([1-9]\\d{0,15}),"p":"${HASH}","t":(0|[1-9]\\d{0,15}),` +
    `"tag":"${HASH}","v":1\\}$`,
);
const INDEX_LEAF = new RegExp(
  `^\\{"c":"${HASH}","k":"index","m":"${HASH}","t":(0|[1-9]\\d{0,15}),"v":1\\}$`,
);
const INDEX_RECORD = new RegExp(
  `^\\{"period":"(\\d{4}-\\d{2})","root":"${HASH}","rows":(0|[1-9]\\d{0,15}),"upto":(0|[1-9]\\d{0,15}),"v":1\\}$`,
);
const ED25519 = 1;
const COSIGNATURE = 4;
const CHECKPOINT = new RegExp(`^([^\\n]{1,255})\\n(0|[1-9]\\d{0,15})\\n${HASH}\\n(?:[^\\n]+\\n)*$`);
const SIGNATURE = /^\u2014 ([^\s+]{1,255}) ([A-Za-z0-9+/]+={0,2})$/;
const encoder = new TextEncoder();
const subtle = globalThis.crypto.subtle;

export class Failure extends Error {
  constructor(code, index = null) {
    super(code);
    this.code = code;
    this.index = index;
  }
}

export function fromBase64(text) {
  if (typeof text !== "string" || !/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) {
    throw new Failure("bundle_malformed");
  }
  const bytes = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  if (toBase64(bytes) !== text) throw new Failure("bundle_malformed");
  return bytes;
}

export function toBase64(bytes) {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function equal(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

async function sha256(...parts) {
  return new Uint8Array(await subtle.digest("SHA-256", joined(...parts)));
}

export function leafHash(leaf) {
  return sha256(Uint8Array.of(0), leaf);
}

function nodeHash(left, right) {
  return sha256(Uint8Array.of(1), left, right);
}

async function hmac(key, text) {
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, encoder.encode(text)));
}

// RFC 9162 2.1.3.2. Numbers stay below 2^53, so halves are floored, not shifted.
export async function verifyInclusion(leaf, index, size, path, root) {
  if (!(index < size) || path.some((hash) => hash.length !== 32)) throw new Failure("not_in_log", index);
  let node = index;
  let last = size - 1;
  let result = leaf;
  for (const sibling of path) {
    if (last === 0) throw new Failure("not_in_log", index);
    if (node % 2 === 1 || node === last) {
      result = await nodeHash(sibling, result);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      result = await nodeHash(result, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0 || !equal(result, root)) throw new Failure("not_in_log", index);
}

// RFC 9162 2.1.4.2: the tree of size `old` is a prefix of the tree of size `size`.
export async function verifyConsistency(old, oldRoot, size, root, path) {
  const differs = () => {
    throw new Failure("history_differs");
  };
  if (old > size || path.some((hash) => hash.length !== 32)) differs();
  if (old === 0) return;
  if (old === size) {
    if (path.length > 0 || !equal(oldRoot, root)) differs();
    return;
  }
  const isPower = Number.isInteger(Math.log2(old));
  const hashes = isPower ? [oldRoot, ...path] : path;
  if (path.length === 0) differs();
  let node = old - 1;
  let last = size - 1;
  while (node % 2 === 1) {
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  let first = hashes[0];
  let second = hashes[0];
  for (const sibling of hashes.slice(1)) {
    if (last === 0) differs();
    if (node % 2 === 1 || node === last) {
      first = await nodeHash(sibling, first);
      second = await nodeHash(sibling, second);
      while (node % 2 === 0 && node !== 0) {
        node = Math.floor(node / 2);
        last = Math.floor(last / 2);
      }
    } else {
      second = await nodeHash(second, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  if (last !== 0 || !equal(first, oldRoot) || !equal(second, root)) differs();
}

// signed-note: a vkey is `name+hex(key id)+base64(type || public key)`; type 1 is Ed25519, type 4 a witness's Ed25519.
async function parseKey(text) {
  const [, name, id, encoded] = /^([^\s+]{1,255})\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? [];
  if (name === undefined) throw new Failure("key_unknown");
  const data = fromBase64(encoded);
  const hashed = (await sha256(encoder.encode(`${name}\n`), data)).slice(0, 4);
  const hex = Array.from(hashed, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (data.length !== 33 || ![ED25519, COSIGNATURE].includes(data[0]) || hex !== id) throw new Failure("key_unknown");
  return { name, id: hashed, kind: data[0], key: data.slice(1) };
}

// tlog-policy: `log`, `witness`, `group` and `quorum` lines; each name is defined before it is used.
export async function parsePolicy(text) {
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
      if (key.kind !== COSIGNATURE) malformed();
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

export async function verifyNote(note, vkeys) {
  const { text, signatures } = parseNote(note);
  const keys = (await Promise.all(vkeys.map(parseKey))).filter((key) => key.kind === ED25519);
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
export async function verifyQuorum(note, rules) {
  const { text, signatures } = parseNote(note);
  const confirmations = [];
  for (const [name, key] of rules.witnesses) {
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

async function verifyCheckpoint(bundle, policy) {
  const rules = policy.policy ? await parsePolicy(policy.policy) : null;
  const known = [...policy.vkeys, ...(rules?.vkeys ?? [])];
  const vkeys = known.filter((vkey) => vkey.startsWith(`${bundle.origin}+`));
  if (vkeys.length === 0) throw new Failure("key_unknown");
  const match = CHECKPOINT.exec(await verifyNote(bundle.checkpoint, vkeys));
  if (!match) throw new Failure("note_malformed");
  if (match[1] !== bundle.origin) throw new Failure("origin_differs");
  const confirmations = rules === null ? [] : await verifyQuorum(bundle.checkpoint, rules);
  return { size: Number(match[2]), root: fromBase64(match[3]), confirmations };
}

// What an earlier visit saw must be the beginning of what is shown now. "unproven": the proof for that isn't in the file.
async function compareWithSeen(bundle, seen, { size, root }) {
  if (!seen) return "first";
  if (size < seen.size) throw new Failure("log_shrunk");
  const oldRoot = fromBase64(seen.root);
  if (size === seen.size) {
    await verifyConsistency(size, oldRoot, size, root, []);
    return "same";
  }
  const proof = bundle.consistency;
  if (seen.size > 0 && proof?.old !== seen.size) return "unproven";
  await verifyConsistency(seen.size, oldRoot, size, root, (proof?.path ?? []).map(fromBase64));
  return "extended";
}

function compareBytes(left, right) {
  for (const [at, byte] of left.entries()) if (byte !== right[at]) return byte - right[at];
  return 0;
}

// The person's row in the month's index, or null if the rows prove that it has none.
async function verifyRows(rows, count, root, tag) {
  const malformed = () => {
    throw new Failure("index_malformed");
  };
  const parsed = [];
  for (const row of rows) {
    const found = { position: row.position, tag: fromBase64(row.tag), n: row.n, head: fromBase64(row.head) };
    if (!Number.isSafeInteger(found.n) || found.n < 1 || found.tag.length !== 32 || found.head.length !== 32) malformed();
    const number = new Uint8Array(8);
    new DataView(number.buffer).setBigUint64(0, BigInt(found.n));
    const leaf = await leafHash(joined(encoder.encode("xgw/index/v1\0"), found.tag, number, found.head));
    try {
      await verifyInclusion(leaf, found.position, count, row.path.map(fromBase64), root);
    } catch {
      malformed();
    }
    parsed.push({ ...found, order: compareBytes(found.tag, tag) });
  }
  const [first, second] = parsed;
  if (parsed.length === 0 && count === 0) return null;
  if (parsed.length === 1 && first.order === 0) return first;
  if (parsed.length === 1 && first.order > 0 && first.position === 0) return null;
  if (parsed.length === 1 && first.order < 0 && first.position === count - 1) return null;
  const areNeighbours = parsed.length === 2 && second.position === first.position + 1;
  if (areNeighbours && first.order < 0 && second.order > 0) return null;
  return malformed();
}

// The month's index: how many accesses the log itself counted, and where the person's chain ended then.
async function verifyIndex(bundle, tag, heads, { size, root }) {
  const index = bundle.index;
  const malformed = () => {
    throw new Failure("index_malformed");
  };
  const leaf = INDEX_LEAF.exec(index.leaf);
  if (!leaf || !Number.isSafeInteger(index.index)) malformed();
  await verifyInclusion(await leafHash(encoder.encode(index.leaf)), index.index, size, index.proof.map(fromBase64), root);
  const record = fromBase64(index.record);
  const opened = await sha256(encoder.encode("xgw/record/v1\0"), fromBase64(index.nonce), record);
  const content = INDEX_RECORD.exec(new TextDecoder().decode(record));
  if (toBase64(opened) !== leaf[1] || !content || content[1] !== bundle.month) malformed();
  const [rows, upto] = [Number(content[3]), Number(content[4])];
  const row = await verifyRows(index.rows, rows, fromBase64(content[2]), tag);
  const counted = row === null ? 0 : row.n;
  const before = bundle.accesses.filter((access) => access.index < upto).length;
  if (before !== counted || (row !== null && !equal(heads[counted - 1], row.head))) throw new Failure("index_differs");
  return { counted, time: Number(leaf[3]) };
}

async function verifyAccess(access, position, context) {
  const match = typeof access.leaf === "string" ? LEAF.exec(access.leaf) : null;
  if (!match || !Number.isSafeInteger(access.index) || access.index < 0) {
    throw new Failure("leaf_malformed", access.index ?? null);
  }
  const [, commitment, , number, previous, time, tag] = match;
  const hashed = await leafHash(encoder.encode(access.leaf));
  const fail = (code) => {
    throw new Failure(code, access.index);
  };
  if (tag !== context.tag) fail("tag_differs");
  if (Number(number) !== position + 1) fail("entry_missing");
  if (!equal(fromBase64(previous), context.previous)) fail("chain_broken");
  if (Number(time) < context.time) fail("time_runs_backwards");
  if (new Date(Number(time)).toISOString().slice(0, 7) !== context.month) fail("month_differs");
  context.previous = hashed;
  context.heads.push(hashed);
  context.time = Number(time);
  if (access.proof === null) {
    // Younger than the checkpoint; an older entry without a proof is no slip.
    if (access.index < context.size) fail("proof_missing");
  } else {
    await verifyInclusion(hashed, access.index, context.size, access.proof.map(fromBase64), context.root);
  }
  let details = null;
  if (access.record !== null) {
    const record = fromBase64(access.record);
    const nonce = fromBase64(access.nonce);
    const opened = await sha256(encoder.encode("xgw/record/v1\0"), nonce, record);
    if (nonce.length !== 32 || toBase64(opened) !== commitment) fail("record_changed");
    details = new TextDecoder().decode(record);
  }
  return { index: access.index, time: Number(time), details, sealed: access.proof !== null };
}

// Resolves to {ok, failures, accesses, size, root, unsealed, erased, confirmations, visit, index}; never rejects. Each failure
// has code, index, de and en. `index` is {counted, time}, or null while the month has none; `visit` compares with `seen`.
export async function verifyBundle(bundle, policy) {
  const result = { ok: false, failures: [], accesses: [], size: 0, root: null, unsealed: 0, erased: 0 };
  Object.assign(result, { confirmations: [], visit: "first", index: null });
  try {
    if (bundle === null || typeof bundle !== "object" || bundle.version !== 1 || !Array.isArray(bundle.accesses)) {
      throw new Failure("bundle_malformed");
    }
    const checkpoint = await verifyCheckpoint(bundle, policy);
    const { size, root } = checkpoint;
    Object.assign(result, { size, root: toBase64(root), confirmations: checkpoint.confirmations });
    result.visit = await compareWithSeen(bundle, policy.seen?.[bundle.origin], checkpoint);
    if (bundle.month_key === null) {
      if (bundle.accesses.length > 0) throw new Failure("bundle_malformed");
    } else {
      const tag = await hmac(fromBase64(bundle.month_key), "tag");
      const context = { tag: toBase64(tag), month: bundle.month, previous: new Uint8Array(32), time: 0, size, root };
      context.heads = [];
      for (const [position, access] of bundle.accesses.entries()) {
        const shown = await verifyAccess(access, position, context);
        result.accesses.push(shown);
        if (!shown.sealed) result.unsealed += 1;
        if (shown.details === null) result.erased += 1;
      }
      if (bundle.index) result.index = await verifyIndex(bundle, tag, context.heads, checkpoint);
    }
  } catch (error) {
    const code = error instanceof Failure ? error.code : "bundle_malformed";
    result.failures.push({ code, index: error.index ?? null, ...MESSAGES[code] });
  }
  result.ok = result.failures.length === 0;
  return result;
}

export { MESSAGES };
