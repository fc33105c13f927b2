// Uses a running Herdbook server through stubs made by a stock TypeScript generator, and checks every answer.

import { randomBytes } from "node:crypto";

import { pushAndRegister, readFiles, writeAndRegister } from "./artifacts.js";
import { say } from "./check.js";
import { pull } from "./pull.js";
import { loseTheRace, moveAlias, resolve } from "./registry.js";
import { closeSession, openSession, type Session } from "./session.js";
import { openWatch } from "./watch.js";

const deadlineSeconds = 60;

/** Tells the whole story: two versions, an alias that moves under a watch, and the bytes back. */
async function play(session: Session): Promise<void> {
  const contents = new Map([
    // Random, so that none of its chunks is in the store.
    ["weights/model.bin", randomBytes(5 * 2 ** 20 + 12_345)],
    ["config.json", Buffer.from('{"layers": 2}')],
    ["empty.txt", Buffer.alloc(0)],
    // The bytes of these paths sort otherwise than their UTF-16 units.
    ["labels/～.txt", Buffer.from("tilde")],
    ["labels/😀.txt", Buffer.from("grin")],
  ]);
  const first = await writeAndRegister(session, contents);
  await moveAlias(session, 0, first.number);
  const watch = await openWatch(session, first);
  contents.set("config.json", Buffer.from('{"layers": 3}'));
  const second = await pushAndRegister(session, first, contents);
  await moveAlias(session, first.number, second.number);
  await watch.awaitMove(second);
  watch.close();
  await resolve(session, second);
  await readFiles(session, second, contents);
  await pull(session, second, contents);
  await loseTheRace(session, first.number, second.number);
}

async function main(): Promise<void> {
  const server = process.env["HERDBOOK_SERVER"];
  if (server === undefined) {
    throw new Error("HERDBOOK_SERVER is not set: give the HOST:PORT of a running server");
  }
  const session = openSession(server);
  try {
    await play(session);
  } finally {
    closeSession(session);
  }
  say("everything is as it should be");
}

function fail(error: unknown): never {
  console.error("typescript: FAILED:", error);
  process.exit(1);
}

setTimeout(() => fail(`not done after ${deadlineSeconds} s`), deadlineSeconds * 1000).unref();
main().catch(fail);
