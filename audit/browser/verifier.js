// Verifies a citizen's bundle of accesses with WebCrypto alone: SHA-256, HMAC and Ed25519.
//
// What is this log's own: the leaf, tag, commitment, release and month's index. Trusts nothing in the bundle but what the
// keys in `policy` signed. Pure: bundle and policy in, result out; the same functions run in the page and in the tests.
//
// policy: {vkeys, policy?, seen?}. `policy` is a tlog-policy's text: with it a quorum of its witnesses must have cosigned.
// `seen` is what earlier visits saw, {origin: {size, root}}.

import { MESSAGES } from "./messages.js";
import { verifyCheckpoint } from "./notes.js";
import { Failure, encoder, equal, fromBase64, hmac, joined, leafHash, sha256, toBase64 } from "./tree.js";
import { verifyConsistency, verifyInclusion } from "./tree.js";

const HASH = "([A-Za-z0-9+/]{43}=)";
const NUMBER = "(0|[1-9]\\d{0,15})";
const LEAF = new RegExp(
  `^\\{"c":"${HASH}","k":"(access|release|withheld)","m":"${HASH}","n":([1-9]\\d{0,15}),"p":"${HASH}","t":${NUMBER},` +
    `"tag":"${HASH}","v":1\\}$`,
);
const INDEX_LEAF = new RegExp(`^\\{"c":"${HASH}","k":"index","m":"${HASH}","t":${NUMBER},"v":1\\}$`);
const INDEX_RECORD = new RegExp(
  `^\\{"period":"(\\d{4}-\\d{2})","root":"${HASH}","rows":${NUMBER},"upto":${NUMBER},"v":1\\}$`,
);
const WITHHELD = new RegExp(
  `,?"withheld":\\{"index":${NUMBER},"leaf":"((?:[^"\\\\]|\\\\")*)","nonce":"${HASH}","origin":"([^"\\\\\\s]{1,255})"\\}\\}$`,
);

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
      await verifyInclusion(leaf, found.position, count, row.path, root);
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
  await verifyInclusion(await leafHash(encoder.encode(index.leaf)), index.index, size, index.proof, root);
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

// What a release says was withheld: the record as it was, and in its last member the withheld leaf, where that stands, and
// the nonce that opens it. All of it must be what the log took in at the time.
async function verifyRelease(access, { exchange, time }, context) {
  const fail = (code) => {
    throw new Failure(code, access.index);
  };
  const text = new TextDecoder().decode(fromBase64(access.record));
  const member = WITHHELD.exec(text);
  const [, index, escaped, nonce, origin] = member ?? fail("release_differs");
  const data = escaped.replaceAll('\\"', '"');
  const leaf = LEAF.exec(data);
  if (!leaf || leaf[2] !== "withheld") fail("release_differs");
  const [, commitment, , withheldExchange, , , withheldTime] = leaf;
  const record = encoder.encode(`${text.slice(0, member.index)}}`);
  const opened = await sha256(encoder.encode("xgw/record/v1\0"), fromBase64(nonce), record);
  if (toBase64(opened) !== commitment) fail("release_differs");
  if (withheldExchange !== exchange || Number(withheldTime) > time) fail("release_differs");
  const shown = access.withheld ?? fail("release_unproven");
  let tree = context.tree;
  if (origin !== context.origin) {
    // In the log of another year, which has a checkpoint of its own.
    if (typeof shown.checkpoint !== "string") fail("release_unproven");
    tree = await verifyCheckpoint(origin, shown.checkpoint, context.policy);
  }
  if (shown.proof === null) {
    // As young as the release itself.
    if (Number(index) < tree.size || access.proof !== null) fail("release_unproven");
  } else {
    const hashed = await leafHash(encoder.encode(data));
    await verifyInclusion(hashed, Number(index), tree.size, shown.proof, tree.root, tree.known);
  }
  return Number(withheldTime);
}

// An access's place in the person's row, each after the one before.
function linkAccess(access, hashed, position, context) {
  const match = typeof access.leaf === "string" ? LEAF.exec(access.leaf) : null;
  if (!match || match[2] === "withheld" || !Number.isSafeInteger(access.index) || access.index < 0) {
    throw new Failure("leaf_malformed", access.index ?? null);
  }
  const [, commitment, kind, exchange, number, previous, text, tag] = match;
  const time = Number(text);
  const fail = (code) => {
    throw new Failure(code, access.index);
  };
  if (tag !== context.tag) fail("tag_differs");
  if (Number(number) !== position + 1) fail("entry_missing");
  if (previous !== context.previous) fail("chain_broken");
  if (time < context.time) fail("time_runs_backwards");
  if (new Date(time).toISOString().slice(0, 7) !== context.month) fail("month_differs");
  context.previous = toBase64(hashed);
  context.heads.push(hashed);
  context.time = time;
  // Younger than the checkpoint; an older entry without a proof is no slip.
  if (access.proof === null && access.index < context.tree.size) fail("proof_missing");
  return { access, hashed, commitment, kind, exchange, time };
}

// What an access says, once it stands in the signed tree and its leaf commits to it.
async function openAccess({ access, hashed, commitment, kind, exchange, time }, context) {
  const { size, root, known } = context.tree;
  if (access.proof !== null) await verifyInclusion(hashed, access.index, size, access.proof, root, known);
  const shown = { index: access.index, time, released: null, details: null, sealed: access.proof !== null };
  if (kind === "release") shown.released = time;
  if (access.record !== null) {
    const record = fromBase64(access.record);
    const nonce = fromBase64(access.nonce);
    const opened = await sha256(encoder.encode("xgw/record/v1\0"), nonce, record);
    if (nonce.length !== 32 || toBase64(opened) !== commitment) throw new Failure("record_changed", access.index);
    shown.details = new TextDecoder().decode(record);
    if (kind === "release") shown.time = await verifyRelease(access, { exchange, time }, context);
  }
  return shown;
}

// Hashing is a matter of waiting: so many accesses wait together.
const TOGETHER = 64;

async function verifyAccesses(accesses, context) {
  const shown = [];
  for (let at = 0; at < accesses.length; at += TOGETHER) {
    const some = accesses.slice(at, at + TOGETHER);
    const hashes = await Promise.all(some.map((access) => leafHash(encoder.encode(access.leaf))));
    const opening = [];
    let broken = null;
    try {
      for (const [number, access] of some.entries()) {
        opening.push(openAccess(linkAccess(access, hashes[number], at + number, context), context));
      }
    } catch (failure) {
      broken = failure;
    }
    // The first access that fails is named, whichever was found out first.
    for (const one of await Promise.allSettled(opening)) {
      if (one.status === "rejected") throw one.reason;
      shown.push(one.value);
    }
    if (broken) throw broken;
  }
  return shown;
}

// Resolves to {ok, failures, accesses, size, root, unsealed, erased, confirmations, visit, index}; never rejects. Each failure
// has code, index, de and en. `index` is {counted, time}, or null while the month has none; `visit` compares with `seen`.
// An access's `time` is when it happened, `released` when the person was first told of one that had been withheld, or null.
export async function verifyBundle(bundle, policy) {
  const result = { ok: false, failures: [], accesses: [], size: 0, root: null, unsealed: 0, erased: 0 };
  Object.assign(result, { confirmations: [], visit: "first", index: null });
  try {
    if (bundle === null || typeof bundle !== "object" || bundle.version !== 1 || !Array.isArray(bundle.accesses)) {
      throw new Failure("bundle_malformed");
    }
    const { origin } = bundle;
    const tree = await verifyCheckpoint(origin, bundle.checkpoint, policy);
    Object.assign(result, { size: tree.size, root: toBase64(tree.root), confirmations: tree.confirmations });
    result.visit = await compareWithSeen(bundle, policy.seen?.[origin], tree);
    if (bundle.month_key === null) {
      if (bundle.accesses.length > 0) throw new Failure("bundle_malformed");
    } else {
      const tag = await hmac(fromBase64(bundle.month_key), "tag");
      const context = { tag: toBase64(tag), month: bundle.month, previous: toBase64(new Uint8Array(32)), time: 0 };
      Object.assign(context, { heads: [], tree, origin, policy });
      result.accesses = await verifyAccesses(bundle.accesses, context);
      result.unsealed = result.accesses.filter((access) => !access.sealed).length;
      result.erased = result.accesses.filter((access) => access.details === null).length;
      if (bundle.index) result.index = await verifyIndex(bundle, tag, context.heads, tree);
    }
  } catch (error) {
    const code = error instanceof Failure ? error.code : "bundle_malformed";
    result.failures.push({ code, index: error.index ?? null, ...MESSAGES[code] });
  }
  result.ok = result.failures.length === 0;
  return result;
}
