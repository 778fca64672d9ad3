/**
 * A program of 165 bytes for what a shell cannot say: `call NUMBER [ARG…]` makes one system call
 * and exits with its errno, or 0. Arguments are decimal numbers; `@text` passes text's address.
 *
 * ```
 * +0     ELF header           one loadable segment, the whole file, at 0x400000
 * +64    program header
 * +120   code
 * ```
 */

/** Reads argv into seven numbers on the stack. The bytes are the instructions' encodings. */
// biome-ignore format: table
const parseArguments = [
  "4c8d642410",         // lea  r12, [rsp+16]        argv[1]
  "4883ec40",           // sub  rsp, 64
  "4531ed",             // xor  r13d, r13d           how many are read
  "4ac704ec00000000",   // next: mov [rsp+r13*8], 0
  "498b3424",           // mov  rsi, [r12]
  "4885f6",             // test rsi, rsi
  "7428",               // jz   counted              argv has ended
  "4983c408",           // add  r12, 8
  "31d2",               // xor  edx, edx
  "803e40",             // cmp  byte [rsi], "@"
  "7415",               // je   pointer
  "0fb606",             // digit: movzx eax, byte [rsi]
  "84c0",               // test al, al
  "7412",               // jz   store
  "486bd20a",           // imul rdx, rdx, 10
  "488d5402d0",         // lea  rdx, [rdx+rax-"0"]
  "48ffc6",             // inc  rsi
  "ebeb",               // jmp  digit
  "488d5601",           // pointer: lea rdx, [rsi+1]
  "4a8914ec",           // store: mov [rsp+r13*8], rdx
  "41ffc5",             // counted: inc r13d
  "4183fd07",           // cmp  r13d, 7
  "7cbe",               // jl   next
].join("");

/** syscall(2), x86-64: rax, then rdi rsi rdx r10 r8 r9. */
// biome-ignore format: table
const callX86_64 = [
  "488b0424",   // mov rax, [rsp]
  "488b7c2408", // mov rdi, [rsp+8]
  "488b742410", // mov rsi, [rsp+16]
  "488b542418", // mov rdx, [rsp+24]
  "4c8b542420", // mov r10, [rsp+32]
  "4c8b442428", // mov r8,  [rsp+40]
  "4c8b4c2430", // mov r9,  [rsp+48]
  "0f05",       // syscall
].join("");

/** The same by i386's gate, which 64-bit programs may use too: eax, then ebx ecx edx esi edi ebp. */
// biome-ignore format: table
const callI386 = [
  "8b0424",     // mov eax, [rsp]
  "8b5c2408",   // mov ebx, [rsp+8]
  "8b4c2410",   // mov ecx, [rsp+16]
  "8b542418",   // mov edx, [rsp+24]
  "8b742420",   // mov esi, [rsp+32]
  "8b7c2428",   // mov edi, [rsp+40]
  "8b6c2430",   // mov ebp, [rsp+48]
  "cd80",       // int 0x80
  "4863c0",     // movsxd rax, eax
].join("");

// biome-ignore format: table
const exitWithErrno = [
  "31ff",       // xor  edi, edi
  "4885c0",     // test rax, rax
  "7905",       // jns  leave
  "48f7d8",     // neg  rax
  "89c7",       // mov  edi, eax
  "b8e7000000", // leave: mov eax, 231     exit_group
  "0f05",       // syscall
].join("");

const loadAddress = 0x40_0000;
const headerSizeBytes = 120;

export type CallAbi = "x86-64" | "i386";

/** An executable file for a container; the x32 ABI is x86-64 with bit 30 of the number set. */
export function callProgram(abi: CallAbi): Uint8Array {
  const call = abi === "i386" ? callI386 : callX86_64;
  const code = Buffer.from(parseArguments + call + exitWithErrno, "hex");
  const file = Buffer.alloc(headerSizeBytes + code.length);
  file.write("\x7fELF", "latin1");
  file.set([2, 1, 1], 4); // 64 bits, little endian, version 1
  file.writeUInt16LE(2, 16); // e_type: ET_EXEC
  file.writeUInt16LE(62, 18); // e_machine: EM_X86_64
  file.writeUInt32LE(1, 20); // e_version
  file.writeBigUInt64LE(BigInt(loadAddress + headerSizeBytes), 24); // e_entry
  file.writeBigUInt64LE(64n, 32); // e_phoff
  file.writeUInt16LE(64, 52); // e_ehsize
  file.writeUInt16LE(56, 54); // e_phentsize
  file.writeUInt16LE(1, 56); // e_phnum
  file.writeUInt32LE(1, 64); // p_type: PT_LOAD
  file.writeUInt32LE(5, 68); // p_flags: readable, executable
  file.writeBigUInt64LE(BigInt(loadAddress), 80); // p_vaddr
  file.writeBigUInt64LE(BigInt(file.length), 96); // p_filesz
  file.writeBigUInt64LE(BigInt(file.length), 104); // p_memsz
  file.writeBigUInt64LE(0x1000n, 112); // p_align
  code.copy(file, headerSizeBytes);
  return file;
}
