/** --detach-keys: docker's "ctrl-p,ctrl-q" as the bytes a terminal sends. */
const controls: Readonly<Record<string, number>> = {
  "@": 0,
  "[": 27,
  "\\": 28,
  "]": 29,
  "^": 30,
  _: 31,
};

/** Bytes whose sequence detaches; an empty text switches detaching off. */
export function parseDetachKeys(text: string): Uint8Array {
  if (text === "") return new Uint8Array();
  return Uint8Array.from(text.split(","), toByte);
}

function toByte(key: string): number {
  const control = /^ctrl-(.)$/.exec(key)?.[1];
  if (control === undefined && key.length === 1) return key.charCodeAt(0);
  if (control !== undefined && /^[a-z]$/.test(control)) return control.charCodeAt(0) - 96;
  const byte = control === undefined ? undefined : controls[control];
  if (byte === undefined) throw new SyntaxError("expected keys such as ctrl-p,ctrl-q or a,b");
  return byte;
}
