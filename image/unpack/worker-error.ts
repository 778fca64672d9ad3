/** Errors as plain data: structured cloning would lose their classes and fields. */
import { SyscallError, type SyscallFailure } from "../../linux/index.ts";
import { LayerError, LimitError, StoreError } from "../errors.ts";

export interface ErrorDescription {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly hint: string | undefined;
  readonly limit: string | undefined;
  readonly syscall: SyscallFailure | undefined;
  readonly cause: ErrorDescription | undefined;
}

const MAX_CAUSES = 16;

export function describeError(error: unknown, depth = 0): ErrorDescription {
  const known = error instanceof Error ? error : new Error(String(error));
  const { cause } = known;
  return {
    name: known.name,
    message: known.message,
    stack: known.stack,
    hint: "hint" in known && typeof known.hint === "string" ? known.hint : undefined,
    limit: known instanceof LimitError ? known.limit : undefined,
    syscall: known instanceof SyscallError ? known.failure : undefined,
    cause: cause === undefined || depth >= MAX_CAUSES ? undefined : describeError(cause, depth + 1),
  };
}

export function restoreError(description: ErrorDescription): Error {
  const { name, message, hint, limit, syscall } = description;
  const cause = description.cause === undefined ? undefined : restoreError(description.cause);
  const options = cause === undefined ? {} : { cause };
  if (syscall !== undefined) return new SyscallError(syscall, options);
  switch (name) {
    case "LimitError":
      return new LimitError(message, limit ?? "");
    case "LayerError":
      return new LayerError(message, options);
    case "StoreError":
      return new StoreError(message, { ...options, ...(hint === undefined ? {} : { hint }) });
    case "AbortError":
      return new DOMException(message, name);
    default: {
      const error = new Error(message, options);
      error.name = name;
      if (description.stack !== undefined) error.stack = description.stack;
      return error;
    }
  }
}
