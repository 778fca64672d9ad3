// Read by nothing: build.test.ts starts the executable in this folder.
console.log("hijacked");
