import { DownloadChunksRequest, GetManifestRequest } from "../generated/herdbook/v1/artifact.js";
import type { File } from "../generated/herdbook/v1/manifest.js";
import type { Version } from "../generated/herdbook/v1/version.js";
import { collect, messages } from "./calls.js";
import { present, same, say } from "./check.js";
import { distinctChunks, manifestDigest, sha256 } from "./manifest.js";
import type { Session } from "./session.js";

/** Fetches a version by its manifest and its chunks, trusts nothing, and compares the files with contents. */
export async function pull(session: Session, version: Version, contents: ReadonlyMap<string, Buffer>): Promise<void> {
  const files = await getManifest(session, version);
  const chunks = await download(session, version, files);
  for (const { path, chunks: refs } of files) {
    const data = Buffer.concat(refs.map((ref) => present("chunk", chunks.get(ref.sha256.toString("hex")))));
    same(`pulled bytes of ${path} are those written`, data.equals(present(path, contents.get(path))), true);
  }
  same("pulled files", files.length, contents.size);
  say(`pulled ${files.length} files of ${chunks.size} chunks, all verified`);
}

/** Reads a manifest and checks that its digest is the version's. */
export async function getManifest(session: Session, version: Version): Promise<File[]> {
  const request = GetManifestRequest.fromPartial({ reference: `${session.model}:${version.number}` });
  const parts = await collect(session.artifacts.getManifest(request));
  const files = parts.flatMap((part) => part.files);
  same("model of the manifest", parts[0].model, session.model);
  same("version of the manifest", parts[0].version, version.number);
  same("digest given with the manifest", parts[0].digest, version.digest);
  same("digest of the manifest", manifestDigest(files), version.digest);
  return files;
}

/** Fetches the chunks of files, each once, and returns their bytes by digest in hex. */
async function download(session: Session, version: Version, files: readonly File[]): Promise<Map<string, Buffer>> {
  const wanted = distinctChunks(files).map((chunk) => chunk.sha256);
  const request = DownloadChunksRequest.fromPartial({
    model: session.model,
    version: version.number,
    sha256: wanted,
  });
  const chunks = new Map<string, Buffer>();
  for await (const message of messages(session.artifacts.downloadChunks(request))) {
    for (const chunk of message.chunks) {
      const digest = chunk.sha256.toString("hex");
      same("digest of a downloaded chunk", sha256(chunk.data).toString("hex"), digest);
      same("order of chunks", digest, present("chunk asked for", wanted[chunks.size]).toString("hex"));
      chunks.set(digest, chunk.data);
    }
  }
  same("downloaded chunks", chunks.size, wanted.length);
  return chunks;
}
