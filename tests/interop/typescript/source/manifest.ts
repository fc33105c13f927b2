import { createHash } from "node:crypto";

import type { ChunkRef, File } from "../generated/herdbook/v1/manifest.js";
import { same } from "./check.js";

export function sha256(data: Uint8Array): Buffer {
  return createHash("sha256").update(data).digest();
}

/** The digest of a manifest as manifest.proto defines it. */
export function manifestDigest(files: readonly File[]): string {
  const hash = createHash("sha256").update("herdbook-manifest-v1\n");
  for (const { path, chunks } of sortedByPath(files)) {
    const pathBytes = Buffer.from(path);
    hash.update(bigEndian(pathBytes.length)).update(pathBytes).update(bigEndian(chunks.length));
    for (const chunk of chunks) {
      hash.update(chunk.sha256).update(bigEndian(chunk.sizeBytes));
    }
  }
  return `sha256:${hash.digest("hex")}`;
}

// Not `a.path < b.path`: that would compare UTF-16 units, which is another order.
function sortedByPath(files: readonly File[]): File[] {
  return [...files].sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
}

function bigEndian(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** Every chunk of files, each digest once. */
export function distinctChunks(files: readonly File[]): ChunkRef[] {
  const chunks = files.flatMap((file) => file.chunks);
  return [...new Map(chunks.map((chunk) => [chunk.sha256.toString("hex"), chunk])).values()];
}

export function totalBytes(files: readonly File[]): bigint {
  return BigInt(files.flatMap((file) => file.chunks).reduce((total, chunk) => total + chunk.sizeBytes, 0));
}

/** Checks that the chunks of file are a cut of data. */
export function checkChunks(file: File, data: Buffer): void {
  let offset = 0;
  for (const [index, chunk] of file.chunks.entries()) {
    const piece = data.subarray(offset, offset + chunk.sizeBytes);
    same(`size of chunk ${index} of ${file.path}`, piece.length, chunk.sizeBytes);
    same(`digest of chunk ${index} of ${file.path}`, chunk.sha256.toString("hex"), sha256(piece).toString("hex"));
    offset += chunk.sizeBytes;
  }
  same(`bytes of ${file.path} in chunks`, offset, data.length);
}
