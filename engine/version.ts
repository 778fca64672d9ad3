/** The release; a test holds it against package.json, which ships beside but not inside. */
export const VERSION = "0.1.0";
