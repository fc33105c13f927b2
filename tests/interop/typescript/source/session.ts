import { randomUUID } from "node:crypto";

import { credentials } from "@grpc/grpc-js";

import { AliasServiceClient } from "../generated/herdbook/v1/alias.js";
import { ArtifactServiceClient } from "../generated/herdbook/v1/artifact.js";
import { VersionServiceClient } from "../generated/herdbook/v1/version.js";

/** One run against one new model. */
export interface Session {
  readonly versions: VersionServiceClient;
  readonly aliases: AliasServiceClient;
  readonly artifacts: ArtifactServiceClient;
  readonly model: string;
  readonly alias: string;
  /** The reference `model@alias`. */
  readonly reference: string;
}

export function openSession(server: string): Session {
  const model = `interop/typescript-${randomUUID()}`;
  const alias = "champion";
  return {
    versions: new VersionServiceClient(server, credentials.createInsecure()),
    aliases: new AliasServiceClient(server, credentials.createInsecure()),
    artifacts: new ArtifactServiceClient(server, credentials.createInsecure()),
    model,
    alias,
    reference: `${model}@${alias}`,
  };
}

export function closeSession(session: Session): void {
  session.versions.close();
  session.aliases.close();
  session.artifacts.close();
}
