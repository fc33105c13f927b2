import { isDeepStrictEqual } from "node:util";

/** Throws unless got is what is wanted. */
export function same<Value>(what: string, got: Value, wanted: NoInfer<Value>): void {
  if (!isDeepStrictEqual(got, wanted)) {
    throw new Error(`${what}: got ${String(got)}, want ${String(wanted)}`);
  }
}

/** The value of a field that must be set. */
export function present<Value>(what: string, value: Value | undefined): Value {
  if (value === undefined) {
    throw new Error(`${what} is not set`);
  }
  return value;
}

export function say(message: string): void {
  console.log(`typescript: ${message}`);
}
