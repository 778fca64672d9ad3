/** A string or number that only its parse function may make: `Brand<string, "Digest">`. */
declare const brand: unique symbol;
export type Brand<T, Name extends string> = T & { readonly [brand]: Name };
