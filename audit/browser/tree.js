// Bytes, hashes, and the proofs of a Merkle tree: RFC 9162 sections 2.1.3.2 and 2.1.4.2, by WebCrypto.

export const encoder = new TextEncoder();
export const subtle = globalThis.crypto.subtle;

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

export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export function equal(left, right) {
  return left.length === right.length && left.every((byte, at) => byte === right[at]);
}

export async function sha256(...parts) {
  return new Uint8Array(await subtle.digest("SHA-256", joined(...parts)));
}

export function leafHash(leaf) {
  return sha256(Uint8Array.of(0), leaf);
}

function nodeHash(left, right) {
  return sha256(Uint8Array.of(1), left, right);
}

export async function hmac(key, text) {
  const imported = await subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  return new Uint8Array(await subtle.sign("HMAC", imported, encoder.encode(text)));
}

// Trees beyond this have nodes whose key below is no whole number any more.
const LARGEST_SHARED = 2 ** 46;

// RFC 9162 2.1.3.2. Numbers stay below 2^53, so halves are floored, not shifted. `path` is in base64.
//
// `known` holds the hashes of this tree that were proven before, by level and number: once a path meets one of them the
// rest of it must be what led from there to the root, and needs no hashing. Many leaves of one tree share most of it.
export async function verifyInclusion(leaf, index, size, path, root, known = new Map()) {
  const differs = () => {
    throw new Failure("not_in_log", index);
  };
  if (!Array.isArray(path)) throw new Failure("bundle_malformed");
  if (!(index < size)) differs();
  const met = [];
  let level = 0;
  let node = index;
  let last = size - 1;
  let result = leaf;
  const rise = () => {
    level += 1;
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  };
  const isProven = (number, hash) => {
    const key = size <= LARGEST_SHARED ? number * 64 + level : `${number}/${level}`;
    const there = known.get(key);
    if (there === undefined) met.push([key, hash]);
    else if (there !== hash) differs();
    return there !== undefined;
  };
  let proven = false;
  for (const sibling of path) {
    if (last === 0) differs();
    // At the right edge a node without a sibling goes up as it is, and is known by where it meets one.
    while (node === last && node % 2 === 0) rise();
    proven ||= isProven(node, toBase64(result));
    const isRight = node % 2 === 1;
    const isKnown = isProven(isRight ? node - 1 : node + 1, sibling);
    if (proven && !isKnown) differs();
    if (!proven) {
      const hash = fromBase64(sibling);
      if (hash.length !== 32) differs();
      result = isRight ? await nodeHash(hash, result) : await nodeHash(result, hash);
    }
    rise();
  }
  if (last !== 0 || (!proven && !equal(result, root))) differs();
  for (const [key, hash] of met) known.set(key, hash);
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
