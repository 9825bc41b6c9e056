// Proofs of the log, checked here: RFC 9162 inclusion over SHA-256, and the Ed25519 signature of the head (C2SP note).

export interface TreeHead {
  treeSize: number;
  rootHash: string;
  timestamp: string;
  origin: string;
  publicKey: string;
  note: string;
}

export interface Inclusion {
  position: number;
  leafHash: string;
  treeSize: number;
  rootHash: string;
  path: string[];
}

export interface Consistency {
  from: number;
  fromHash: string;
  to: number;
  toHash: string;
  path: string[];
}

function bytes(hex: string): Uint8Array {
  return Uint8Array.from(hex.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

function hex(of: Uint8Array): string {
  return [...of].map((each) => each.toString(16).padStart(2, "0")).join("");
}

async function node(left: Uint8Array, right: Uint8Array): Promise<Uint8Array> {
  const joined = new Uint8Array(65);
  joined[0] = 1;
  joined.set(left, 1);
  joined.set(right, 33);
  return new Uint8Array(await crypto.subtle.digest("SHA-256", joined));
}

/** Whether the path leads from the leaf to the root (RFC 9162, section 2.1.3.2). */
export async function isIncluded(proof: Inclusion): Promise<boolean> {
  let place = proof.position - 1;
  let last = proof.treeSize - 1;
  if (place < 0 || place > last) return false;
  let hash = bytes(proof.leafHash);
  for (const step of proof.path) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      hash = await node(bytes(step), hash);
      while (place % 2 === 0 && place !== 0) {
        place = Math.floor(place / 2);
        last = Math.floor(last / 2);
      }
    } else hash = await node(hash, bytes(step));
    place = Math.floor(place / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && hex(hash) === proof.rootHash;
}

/** Whether the later tree began with the whole earlier one (RFC 9162, section 2.1.4.2). */
export async function isConsistent(proof: Consistency): Promise<boolean> {
  if (proof.from === proof.to) return proof.path.length === 0 && proof.fromHash === proof.toHash;
  const path = proof.path.map(bytes);
  if (isPowerOfTwo(proof.from)) path.unshift(bytes(proof.fromHash));
  let place = proof.from - 1;
  let last = proof.to - 1;
  while (place % 2 === 1) {
    place = Math.floor(place / 2);
    last = Math.floor(last / 2);
  }
  const begin = path.shift();
  if (!begin) return false;
  let first = begin;
  let second = begin;
  for (const step of path) {
    if (last === 0) return false;
    if (place % 2 === 1 || place === last) {
      first = await node(step, first);
      second = await node(step, second);
      while (place % 2 === 0 && place !== 0) {
        place = Math.floor(place / 2);
        last = Math.floor(last / 2);
      }
    } else second = await node(second, step);
    place = Math.floor(place / 2);
    last = Math.floor(last / 2);
  }
  return last === 0 && hex(first) === proof.fromHash && hex(second) === proof.toHash;
}

function isPowerOfTwo(number: number): boolean {
  return number > 0 && Number.isInteger(Math.log2(number));
}

/** Whether the note says this size and root, and its signature is by the key; undefined where this browser has no Ed25519. */
export async function isSigned(head: TreeHead): Promise<boolean | undefined> {
  const [text, signatures] = head.note.split("\n\n");
  if (text === undefined || signatures === undefined) return false;
  const [origin, size, root] = text.split("\n");
  const rooted = root && hex(Uint8Array.from(atob(root), (each) => each.charCodeAt(0)));
  if (origin !== head.origin || Number(size) !== head.treeSize || rooted !== head.rootHash) return false;
  const encoded = head.publicKey.split("+").slice(2).join("+"); // name+hash+key, and base64 has a + of its own
  const key = Uint8Array.from(atob(encoded), (each) => each.charCodeAt(0)).slice(-32);
  const signature = Uint8Array.from(atob(signatures.trim().split(" ").at(-1)!), (each) => each.charCodeAt(0)).slice(4);
  try {
    const imported = await crypto.subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", imported, signature, new TextEncoder().encode(`${text}\n`));
  } catch {
    return undefined;
  }
}
