/**
 * Bytes in motion inside this folder: read until undefined, or cancel.
 *
 * A body passes through four stages (engine, idle watch, resume, verification). As ReadableStreams
 * each would cost promises, queues and a controller per chunk; as plain reads they cost one await.
 * Callers outside get a ReadableStream, made once at the end.
 */
export interface ByteSource {
  /** The next bytes, or undefined at the end; called again only after the last call settled. */
  readonly read: () => Promise<Uint8Array | undefined>;
  /** Gives the source up; harmless after the end or an error. */
  readonly cancel: (reason?: unknown) => Promise<void>;
}

export const emptySource: ByteSource = {
  read: () => Promise.resolve(undefined),
  cancel: () => Promise.resolve(),
};

export function fromStream(stream: ReadableStream<Uint8Array>): ByteSource {
  const reader = stream.getReader();
  return {
    read: async () => (await reader.read()).value,
    cancel: (reason) => reader.cancel(reason).catch(() => {}),
  };
}

/** A stream that reads only when asked: back-pressure reaches the socket. */
export function toStream(source: ByteSource): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        try {
          const chunk = await source.read();
          if (chunk === undefined) controller.close();
          else controller.enqueue(chunk);
        } catch (error) {
          // A failed stage leaves those below it open.
          await source.cancel(error);
          throw error;
        }
      },
      cancel: (reason) => source.cancel(reason),
    },
    { highWaterMark: 0 },
  );
}
