import type { ClientReadableStream, ClientWritableStream, ServiceError } from "@grpc/grpc-js";

import { present } from "./check.js";

export type Callback<Response> = (error: ServiceError | null, response: Response) => void;

/** The answer of a call that has one: of a unary one, or of one that streams requests. */
export function answer<Response>(call: (callback: Callback<Response>) => unknown): Promise<Response> {
  return new Promise((resolve, reject) => {
    call((error, response) => (error === null ? resolve(response) : reject(error)));
  });
}

/** Sends requests, no faster than the server takes them, and says that there are no more. */
export async function send<Request>(stream: ClientWritableStream<Request>, requests: Iterable<Request>): Promise<void> {
  for (const request of requests) {
    await new Promise<void>((resolve) => {
      stream.write(request, () => resolve());
    });
  }
  stream.end();
}

/** The messages of a stream of answers, typed. */
export async function* messages<Response>(stream: ClientReadableStream<Response>): AsyncGenerator<Response, undefined> {
  for await (const message of stream) {
    yield message as Response;
  }
}

/** All messages of a stream that must have at least one. */
export async function collect<Response>(stream: ClientReadableStream<Response>): Promise<[Response, ...Response[]]> {
  const all: Response[] = [];
  for await (const message of messages(stream)) {
    all.push(message);
  }
  const [first, ...rest] = all;
  return [present("first message of the stream", first), ...rest];
}
