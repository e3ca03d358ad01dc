// Verifies a citizen's bundle of accesses with WebCrypto alone: SHA-256, HMAC and Ed25519.
//
// Formats: C2SP signed-note and tlog-checkpoint, RFC 9162 section 2.1.3.2, and the leaf, tag and commitment of this log. Trusts
// nothing in the bundle but what the keys in `policy` signed. Pure: bundle in, result out; the same functions run in the
// page and in the tests.

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
  record_changed: { de: "Die Angaben zu einem Zugriff wurden verändert.", en: "The details of an access were changed." },
};

const HASH = "([A-Za-z0-9+/]{43}=)";
const LEAF = new RegExp(
  `^\\{"c":"${HASH}","k":"access","m":"${HASH}","n":([1-9]\\d{0,15}),"p":"${HASH}","t":(0|[1-9]\\d{0,15}),` +
    `"tag":"${HASH}","v":1\\}$`,
);
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

// signed-note: a vkey is `name+hex(key id)+base64(type || public key)`; type 1 is Ed25519.
async function parseKey(text) {
  const [, name, id, encoded] = /^([^\s+]{1,255})\+([0-9a-f]{8})\+(.+)$/.exec(text) ?? [];
  if (name === undefined) throw new Failure("key_unknown");
  const data = fromBase64(encoded);
  const hashed = (await sha256(encoder.encode(`${name}\n`), data)).slice(0, 4);
  const hex = Array.from(hashed, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (data.length !== 33 || data[0] !== 1 || hex !== id) throw new Failure("key_unknown");
  return { name, id: hashed, key: data.slice(1) };
}

export async function verifyNote(note, vkeys) {
  const at = note.lastIndexOf("\n\n");
  if (at < 0 || !note.endsWith("\n")) throw new Failure("note_malformed");
  const text = note.slice(0, at + 1);
  const keys = await Promise.all(vkeys.map(parseKey));
  let signed = false;
  for (const line of note.slice(at + 2, -1).split("\n")) {
    const match = SIGNATURE.exec(line);
    if (!match) throw new Failure("note_malformed");
    const data = fromBase64(match[2]);
    const known = keys.find((key) => key.name === match[1] && equal(key.id, data.slice(0, 4)));
    if (!known) continue;
    const imported = await subtle.importKey("raw", known.key, { name: "Ed25519" }, false, ["verify"]);
    if (!(await subtle.verify({ name: "Ed25519" }, imported, data.slice(4), encoder.encode(text)))) {
      throw new Failure("signature_invalid");
    }
    signed = true;
  }
  if (!signed) throw new Failure("key_unknown");
  return text;
}

async function verifyCheckpoint(bundle, policy) {
  const vkeys = policy.vkeys.filter((vkey) => vkey.startsWith(`${bundle.origin}+`));
  if (vkeys.length === 0) throw new Failure("key_unknown");
  const match = CHECKPOINT.exec(await verifyNote(bundle.checkpoint, vkeys));
  if (!match) throw new Failure("note_malformed");
  if (match[1] !== bundle.origin) throw new Failure("origin_differs");
  return { size: Number(match[2]), root: fromBase64(match[3]) };
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

// Resolves to {ok, failures, accesses, size, unsealed, erased}; never rejects. Each failure has code, index, de and en.
export async function verifyBundle(bundle, policy) {
  const result = { ok: false, failures: [], accesses: [], size: 0, unsealed: 0, erased: 0 };
  try {
    if (bundle === null || typeof bundle !== "object" || bundle.version !== 1 || !Array.isArray(bundle.accesses)) {
      throw new Failure("bundle_malformed");
    }
    const { size, root } = await verifyCheckpoint(bundle, policy);
    result.size = size;
    if (bundle.month_key === null) {
      if (bundle.accesses.length > 0) throw new Failure("bundle_malformed");
    } else {
      const tag = toBase64(await hmac(fromBase64(bundle.month_key), "tag"));
      const context = { tag, month: bundle.month, previous: new Uint8Array(32), time: 0, size, root };
      for (const [position, access] of bundle.accesses.entries()) {
        const shown = await verifyAccess(access, position, context);
        result.accesses.push(shown);
        if (!shown.sealed) result.unsealed += 1;
        if (shown.details === null) result.erased += 1;
      }
    }
  } catch (error) {
    const code = error instanceof Failure ? error.code : "bundle_malformed";
    result.failures.push({ code, index: error.index ?? null, ...MESSAGES[code] });
  }
  result.ok = result.failures.length === 0;
  return result;
}

export { MESSAGES };
