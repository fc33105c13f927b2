import {
  FindMissingChunksRequest,
  type FindMissingChunksResponse,
  ReadFileRequest,
  UploadChunksRequest,
  type UploadChunksResponse,
  WriteFileRequest,
  type WriteFileResponse,
} from "../generated/herdbook/v1/artifact.js";
import { File } from "../generated/herdbook/v1/manifest.js";
import type { Version } from "../generated/herdbook/v1/version.js";
import { answer, collect, send } from "./calls.js";
import { present, same, say } from "./check.js";
import { checkChunks, sha256 } from "./manifest.js";
import { getManifest } from "./pull.js";
import { register } from "./registry.js";
import type { Session } from "./session.js";

const pieceBytes = 2 ** 20;

/** Makes a version of contents by WriteFile, where the server cuts the files. */
export async function writeAndRegister(session: Session, contents: ReadonlyMap<string, Buffer>): Promise<Version> {
  const files: File[] = [];
  for (const [path, data] of contents) {
    files.push(await writeFile(session, path, data));
  }
  return register(session, files);
}

/** Sends one file in pieces and checks the manifest entry that comes back. */
async function writeFile(session: Session, path: string, data: Buffer): Promise<File> {
  const response = await answer<WriteFileResponse>((callback) =>
    send(session.artifacts.writeFile(callback), pieces(session, path, data)),
  );
  const file = present("written file", response.file);
  same("written path", file.path, path);
  same("written sizeBytes", response.sizeBytes, BigInt(data.length));
  checkChunks(file, data);
  say(`wrote ${path}: ${response.sizeBytes} bytes in ${file.chunks.length} chunks`);
  return file;
}

function* pieces(session: Session, path: string, data: Buffer): Generator<WriteFileRequest> {
  yield WriteFileRequest.fromPartial({ model: session.model, path });
  for (let offset = 0; offset < data.length; offset += pieceBytes) {
    yield WriteFileRequest.fromPartial({ data: data.subarray(offset, offset + pieceBytes) });
  }
}

/** Makes a version of the files of the one before, but for config.json, which it cuts, asks for and uploads itself. */
export async function pushAndRegister(
  session: Session,
  before: Version,
  contents: ReadonlyMap<string, Buffer>,
): Promise<Version> {
  const path = "config.json";
  const data = present(path, contents.get(path));
  await pushChunk(session, data);
  const kept = (await getManifest(session, before)).filter((file) => file.path !== path);
  const pushed = File.fromPartial({ path, chunks: [{ sha256: sha256(data), sizeBytes: data.length }] });
  return register(session, [...kept, pushed]);
}

/** Uploads a chunk that must be missing before and there afterwards. */
async function pushChunk(session: Session, data: Buffer): Promise<void> {
  same("missing chunks before the upload", await countMissing(session, data), 1);
  const request = UploadChunksRequest.fromPartial({ model: session.model, chunks: [{ sha256: sha256(data), data }] });
  const response = await answer<UploadChunksResponse>((callback) =>
    send(session.artifacts.uploadChunks(callback), [request]),
  );
  same("uploaded chunks", response.chunkCount, 1n);
  same("uploaded bytes", response.sizeBytes, BigInt(data.length));
  same("missing chunks after the upload", await countMissing(session, data), 0);
  say(`uploaded ${response.chunkCount} chunk of ${response.sizeBytes} bytes`);
}

async function countMissing(session: Session, data: Buffer): Promise<number> {
  const request = FindMissingChunksRequest.fromPartial({ model: session.model, sha256: [sha256(data)] });
  const response = await answer<FindMissingChunksResponse>((callback) =>
    session.artifacts.findMissingChunks(request, callback),
  );
  return response.missingSha256.length;
}

/** Reads each file whole by ReadFile, and a range of the largest that spans chunks. */
export async function readFiles(
  session: Session,
  version: Version,
  contents: ReadonlyMap<string, Buffer>,
): Promise<void> {
  for (const [path, data] of contents) {
    await readRange(session, version, path, data, 0, 0);
  }
  const path = "weights/model.bin";
  await readRange(session, version, path, present(path, contents.get(path)), 1_000_003, 3_000_000);
}

/** Reads limit bytes from offset, to the end if limit is 0, and compares them with those of data. */
async function readRange(
  session: Session,
  version: Version,
  path: string,
  data: Buffer,
  offset: number,
  limit: number,
): Promise<void> {
  const request = ReadFileRequest.fromPartial({
    reference: session.reference,
    path,
    offset: BigInt(offset),
    limit: BigInt(limit),
  });
  const parts = await collect(session.artifacts.readFile(request));
  const read = Buffer.concat(parts.map((part) => part.data));
  const wanted = data.subarray(offset, limit === 0 ? undefined : offset + limit);
  same("version that is read", parts[0].version, version.number);
  same(`sizeBytes of ${path}`, parts[0].sizeBytes, BigInt(data.length));
  same(`bytes of ${path} are those written`, read.equals(wanted), true);
  say(`read ${path} from ${offset}: ${read.length} of ${parts[0].sizeBytes} bytes`);
}
