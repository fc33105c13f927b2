import { randomUUID } from "node:crypto";

import type { ClientReadableStream } from "@grpc/grpc-js";

import {
  type ReferenceState,
  WatchAliasesRequest,
  type WatchAliasesResponse,
} from "../generated/herdbook/v1/alias.js";
import type { Version } from "../generated/herdbook/v1/version.js";
import { messages } from "./calls.js";
import { present, same, say } from "./check.js";
import type { Session } from "./session.js";

type Update = NonNullable<WatchAliasesResponse["update"]>;

/** Follows the alias of a session. */
class Watch {
  readonly #stream: ClientReadableStream<WatchAliasesResponse>;
  readonly #updates: AsyncGenerator<WatchAliasesResponse, undefined>;
  readonly #reference: string;
  #revision = 0n;

  constructor(stream: ClientReadableStream<WatchAliasesResponse>, reference: string) {
    this.#stream = stream;
    this.#updates = messages(stream);
    this.#reference = reference;
  }

  /** Takes the initial state, which must name version, and the bookmark that follows. */
  async begin(version: Version): Promise<void> {
    const state = await this.#next();
    if (state.$case !== "state") {
      throw new Error(`watch: wanted a state, got a ${state.$case}`);
    }
    this.#check(state.value, version);
    const bookmark = await this.#next();
    if (bookmark.$case !== "bookmark") {
      throw new Error(`watch: wanted a bookmark, got a ${bookmark.$case}`);
    }
    same("initialDone", bookmark.value.initialDone, true);
    same("bookmark covers the state", bookmark.value.revision >= this.#revision, true);
  }

  /** Waits until the reference names version; bookmarks may come first. */
  async awaitMove(version: Version): Promise<void> {
    let update = await this.#next();
    while (update.$case !== "state") {
      update = await this.#next();
    }
    this.#check(update.value, version);
  }

  close(): void {
    // A cancelled call ends with the error CANCELLED, which is no news here.
    this.#stream.on("error", () => undefined);
    this.#stream.cancel();
  }

  async #next(): Promise<Update> {
    const { value } = await this.#updates.next();
    return present("update of the watch", value?.update);
  }

  #check(state: ReferenceState, version: Version): void {
    same("watched reference", state.reference, this.#reference);
    same("watched version", state.resolution?.version, version.number);
    same("watched digest", state.resolution?.digest, version.digest);
    same("missingReason", state.missingReason, "");
    same("revision grown", state.revision > this.#revision, true);
    this.#revision = state.revision;
    say(`watch: ${state.reference} names ${version.number} at revision ${state.revision}`);
  }
}

/** Watches the session's reference, which must name version. */
export async function openWatch(session: Session, version: Version): Promise<Watch> {
  const request = WatchAliasesRequest.fromPartial({
    references: [session.reference],
    replica: { id: randomUUID(), name: "interop-typescript" },
  });
  const watch = new Watch(session.aliases.watchAliases(request), session.reference);
  await watch.begin(version);
  return watch;
}
