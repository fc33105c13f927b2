import { randomUUID } from "node:crypto";

import { status, type ServiceError } from "@grpc/grpc-js";

import { ErrorInfo } from "../generated/google/rpc/error_details.js";
import { Status } from "../generated/google/rpc/status.js";
import { SetAliasRequest, type SetAliasResponse } from "../generated/herdbook/v1/alias.js";
import type { File } from "../generated/herdbook/v1/manifest.js";
import {
  RegisterVersionRequest,
  type RegisterVersionResponse,
  ResolveReferenceRequest,
  type ResolveReferenceResponse,
  Stage,
  Version,
} from "../generated/herdbook/v1/version.js";
import { answer } from "./calls.js";
import { present, same, say } from "./check.js";
import { manifestDigest, totalBytes } from "./manifest.js";
import type { Session } from "./session.js";

/** Makes a version of files, and again with the same request_id: a retry must not make another. */
export async function register(session: Session, files: File[]): Promise<Version> {
  const request = RegisterVersionRequest.fromPartial({
    version: record(session),
    manifest: { files },
    reason: "interop",
    requestId: randomUUID(),
  });
  const call = () => answer<RegisterVersionResponse>((callback) => session.versions.registerVersion(request, callback));
  const version = present("registered version", (await call()).version);
  same("version of the retry", (await call()).version?.number, version.number);
  checkRecord(session, version, files);
  say(`registered ${session.model}:${version.number}, ${version.sizeBytes} bytes, ${version.digest}`);
  return version;
}

/** What each version says about itself. */
function record(session: Session): Version {
  return Version.fromPartial({
    model: session.model,
    description: "Registered from **TypeScript**",
    tags: { team: "interop", language: "typescript" },
    params: { learning_rate: "0.01" },
    metrics: { rmse: 6.25, r2: -0.5 },
    signature: {
      inputs: [{ name: "x", dtype: "float32", shape: [-1n, 13n] }],
      outputs: [{ dtype: "float32", shape: [-1n] }],
      params: [{ name: "temperature", dtype: "float64", optional: true }],
    },
    inputExample: [1.5],
    framework: "none",
    format: "raw",
    lineage: { runId: "run-1", trainingDuration: { seconds: 1n, nanos: 500_000_000 } },
  });
}

/** Compares what the server keeps with what was sent and with what follows from the files. */
function checkRecord(session: Session, version: Version, files: File[]): void {
  const sent = record(session);
  const kept = ["model", "description", "tags", "params", "metrics", "signature", "inputExample", "lineage"] as const;
  for (const field of kept) {
    same<unknown>(field, version[field], sent[field]);
  }
  same("stage", version.stage, Stage.STAGE_NONE);
  same("digest", version.digest, manifestDigest(files));
  same("fileCount", version.fileCount, files.length);
  same("sizeBytes", version.sizeBytes, totalBytes(files));
  present("createdAt", version.createdAt);
  same("author given", version.author !== "", true);
}

/** Moves the alias by compare-and-set; from 0 means that it does not exist yet. */
export async function moveAlias(session: Session, from: number, to: number): Promise<void> {
  const request = SetAliasRequest.fromPartial({
    model: session.model,
    alias: session.alias,
    version: to,
    expectedVersion: from,
    reason: "interop",
    requestId: randomUUID(),
  });
  const response = await answer<SetAliasResponse>((callback) => session.aliases.setAlias(request, callback));
  same("version of the alias", response.alias?.version, to);
  same("previousVersion", response.previousVersion, from);
  say(`moved ${session.reference} from ${from} to ${to}`);
}

export async function resolve(session: Session, version: Version): Promise<void> {
  const request = ResolveReferenceRequest.fromPartial({ reference: session.reference });
  const response = await answer<ResolveReferenceResponse>((callback) =>
    session.versions.resolveReference(request, callback),
  );
  const resolution = present("resolution", response.resolution);
  same("resolved model", resolution.model, session.model);
  same("resolved version", resolution.version, version.number);
  same("resolved digest", resolution.digest, version.digest);
  same("resolved sizeBytes", resolution.sizeBytes, version.sizeBytes);
  say(`resolved ${session.reference} to ${resolution.version}`);
}

/** Expects a version that the alias has left, and reads the reason from the error's details. */
export async function loseTheRace(session: Session, expected: number, current: number): Promise<void> {
  const request = SetAliasRequest.fromPartial({
    model: session.model,
    alias: session.alias,
    version: expected,
    expectedVersion: expected,
  });
  const error = await answer<SetAliasResponse>((callback) => session.aliases.setAlias(request, callback)).then(
    () => present<ServiceError>("error of SetAlias with a stale expected_version", undefined),
    (reason: ServiceError) => reason,
  );
  const info = present("ErrorInfo", errorInfo(error));
  same("code", error.code, status.ABORTED);
  same("reason", info.reason, "ALIAS_MOVED");
  same("domain", info.domain, "herdbook");
  same("current_version", info.metadata["current_version"], String(current));
  say(`lost a race as told: ${status[error.code]} ${info.reason} ${JSON.stringify(info.metadata)}: ${error.details}`);
}

function errorInfo(error: ServiceError): ErrorInfo | undefined {
  const [encoded] = error.metadata.get("grpc-status-details-bin");
  if (!Buffer.isBuffer(encoded)) {
    return undefined;
  }
  const detail = Status.decode(encoded).details.find((any) => any.typeUrl.endsWith("/google.rpc.ErrorInfo"));
  return detail && ErrorInfo.decode(detail.value);
}
