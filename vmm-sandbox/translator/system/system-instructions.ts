/**
 * Instructions that TypeScript executes: privileged, rare, or both. Each gets the decoded
 * instruction and returns whether the run of records may go on.
 *
 * A helper that changes RIP, the mode or the mapping, or that may make an interrupt deliverable,
 * says "leave"; the run loop then starts again at `registers.rip`, which the caller has set to
 * the next instruction beforehand.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { cpuid } from "./cpuid.ts";
import { GuestFault, generalProtection, invalidOpcode, vector } from "./fault.ts";
import { interruptReturn } from "./interrupts.ts";
import { portIn, portOut, portString } from "./port-helpers.ts";
import { segmentIndex } from "./registers.ts";
import { canonical, loadDataSegment, loadSystemSegment, readDescriptor } from "./segments.ts";
import { readDebug, writeDebug } from "./single-step.ts";
import { GuestStack } from "./stack.ts";
import { systemCall, systemEnter, systemExit, systemReturn } from "./system-calls.ts";

export type HelperResult = "continue" | "leave";

export type Helper = (cpu: Cpu, it: Instruction) => HelperResult;

function privileged(helper: Helper): Helper {
  return (cpu, it) => {
    if (cpu.registers.cpl !== 0) throw generalProtection();
    return helper(cpu, it);
  };
}

/** Reads operand `n`, zero-extended. */
function read(cpu: Cpu, it: Instruction, n: number, size = it.sizes[n] as number): bigint {
  const value = it.values[n] as number;
  if (it.kinds[n] === operandKind.memory)
    return cpu.readData(cpu.registers.get64(state.ea), size / 8);
  if (value >= 16) return (cpu.registers.gpr(value - 16) >> 8n) & 0xffn;
  return BigInt.asUintN(size, cpu.registers.gpr(value));
}

function write(
  cpu: Cpu,
  it: Instruction,
  n: number,
  value: bigint,
  size = it.sizes[n] as number,
): void {
  if (it.kinds[n] === operandKind.memory) {
    cpu.writeData(cpu.registers.get64(state.ea), size / 8, value);
    return;
  }
  const register = it.values[n] as number;
  const old = cpu.registers.gpr(register);
  const cut = BigInt.asUintN(size, value);
  cpu.registers.setGpr(register, size >= 32 ? cut : (old & ~((1n << BigInt(size)) - 1n)) | cut);
}

/** linux/kvm_para.h. */
const KVM_ENOSYS_RESULT = -1000n;

const hlt = privileged((cpu) => {
  cpu.halted = true;
  return "leave";
});

const executeCpuid: Helper = (cpu) => {
  const { registers } = cpu;
  const [a, b, c, d] = cpuid(registers.gpr32(0), registers.gpr32(1));
  registers.setGpr32(0, a);
  registers.setGpr32(3, b);
  registers.setGpr32(1, c);
  registers.setGpr32(2, d);
  return "continue";
};

const rdtsc: Helper = (cpu) => {
  const tsc = cpu.tsc.now();
  cpu.registers.setGpr32(0, tsc % 0x1_0000_0000);
  cpu.registers.setGpr32(2, Math.floor(tsc / 0x1_0000_0000));
  return "continue";
};

const rdtscp: Helper = (cpu, it) => {
  cpu.registers.setGpr32(1, cpu.registers.get32(state.tscAux));
  return rdtsc(cpu, it);
};

/**
 * A hypercall: Linux asks for services that CPUID does not list, and goes on when there are none.
 * Documentation/virt/kvm/x86/hypercalls.rst: RAX takes the result, -KVM_ENOSYS for an unknown call.
 */
const vmcall = privileged((cpu) => {
  cpu.registers.setGpr(0, BigInt.asUintN(64, KVM_ENOSYS_RESULT));
  return "continue";
});

const rdmsr = privileged((cpu) => {
  const value = cpu.msrs.read(cpu.registers.gpr32(1) >>> 0);
  cpu.registers.setGpr(0, value & 0xffff_ffffn);
  cpu.registers.setGpr(2, (value >> 32n) & 0xffff_ffffn);
  return "continue";
});

const wrmsr = privileged((cpu) => {
  const { registers } = cpu;
  const low = BigInt(registers.gpr32(0) >>> 0);
  cpu.msrs.write(registers.gpr32(1) >>> 0, low | (BigInt(registers.gpr32(2) >>> 0) << 32n));
  return "leave";
});

/** Those that are nothing but their value, by number. */
const plainControls: readonly (number | undefined)[] = [
  state.cr0,
  undefined,
  state.cr2,
  state.cr3,
  state.cr4,
];

const movFromControl = privileged((cpu, it) => {
  const plain = plainControls[it.values[1] as number];
  if (plain !== undefined && cpu.is64) {
    cpu.registers.copy64(state.gpr + (it.values[0] as number) * 8, plain);
    return "continue";
  }
  cpu.registers.setGpr(it.values[0] as number, cpu.readControl(it.values[1] as number));
  return "continue";
});

const movToControl = privileged((cpu, it) => {
  const from = state.gpr + (it.values[1] as number) * 8;
  // Bits above the physical width are reserved: writeControl says what becomes of them.
  if (it.values[0] === 3 && cpu.is64 && cpu.registers.get32(from + 4) >>> 8 === 0) {
    cpu.registers.copy64(state.cr3, from);
    cpu.flushMapping(false);
    return "leave";
  }
  cpu.writeControl(it.values[0] as number, cpu.registers.gpr(it.values[1] as number));
  return "leave";
});

const movFromDebug = privileged((cpu, it) => {
  cpu.registers.setGpr(it.values[0] as number, readDebug(cpu, it.values[1] as number));
  return "continue";
});

const movToDebug = privileged((cpu, it) => {
  writeDebug(cpu, it.values[0] as number, cpu.registers.gpr(it.values[1] as number));
  return "leave";
});

function loadTable(which: "gdt" | "idt"): Helper {
  return privileged((cpu, it) => {
    const at = cpu.registers.get64(state.ea);
    const limit = Number(cpu.readData(at, 2));
    let base = cpu.readData(at + 2n, cpu.is64 ? 8 : 4);
    if (cpu.is64 && !canonical(base)) throw generalProtection();
    if (it.size === 16 && !cpu.is64) base &= 0xff_ffffn;
    cpu.registers[which] = { base, limit };
    return "continue";
  });
}

function storeTable(which: "gdt" | "idt"): Helper {
  return (cpu) => {
    const at = cpu.registers.get64(state.ea);
    cpu.writeData(at, 2, BigInt(cpu.registers[which].limit));
    cpu.writeData(at + 2n, cpu.is64 ? 8 : 4, cpu.registers[which].base);
    return "continue";
  };
}

function storeSelector(segment: number): Helper {
  return (cpu, it) => {
    const memory = it.kinds[0] === operandKind.memory;
    write(cpu, it, 0, BigInt(cpu.registers.selector(segment)), memory ? 16 : it.size);
    return "continue";
  };
}

const invlpg = privileged((cpu) => {
  return cpu.invalidatePage(cpu.registers.get64(state.ea)) ? "leave" : "continue";
});

const moveToSegment: Helper = (cpu, it) => {
  const segment = it.values[0] as number;
  if (segment === segmentIndex.cs || segment > 5) throw invalidOpcode();
  const isRegister = it.kinds[1] !== operandKind.memory;
  const selector = isRegister
    ? cpu.registers.gpr32(it.values[1] as number) & 0xffff
    : Number(read(cpu, it, 1, 16));
  loadDataSegment(cpu, segment, selector);
  if (segment === segmentIndex.ss) cpu.shadowUntil = cpu.registers.rip;
  return "leave";
};

const moveFromSegment: Helper = (cpu, it) => {
  const segment = it.values[1] as number;
  if (segment > 5) throw invalidOpcode();
  const memory = it.kinds[0] === operandKind.memory;
  const selector = cpu.registers.selector(segment);
  if (!memory && it.size >= 32) cpu.registers.setGpr32(it.values[0] as number, selector);
  else write(cpu, it, 0, BigInt(selector), memory ? 16 : it.size);
  return "continue";
};

/** Pushing a selector in 32-bit code writes two bytes and moves by four, on real processors. */
const pushSegment: Helper = (cpu, it) => {
  const { registers } = cpu;
  const stack = new GuestStack(cpu);
  const value = BigInt(registers.selector((it.opcode >> 3) & 7));
  if (it.size === 32) {
    stack.drop(-4);
    cpu.writeData(stack.linearTop, 2, value);
  } else stack.push(it.size / 8, value);
  stack.commit();
  return "continue";
};

const popSegment: Helper = (cpu, it) => {
  const stack = new GuestStack(cpu);
  const segment = (it.opcode >> 3) & 7;
  const selector = Number(stack.peek(0, 2));
  stack.drop(it.size / 8);
  loadDataSegment(cpu, segment, selector);
  stack.commit();
  if (segment === segmentIndex.ss) cpu.shadowUntil = cpu.registers.rip;
  return "leave";
};

function softwareInterrupt(number: (it: Instruction) => number): Helper {
  return (cpu, it) => {
    cpu.interrupt(number(it), "software");
    return "leave";
  };
}

/** LAR, LSL, VERR and VERW say whether a selector may be used, and fault for nothing else. */
function inspect(kind: "lar" | "lsl" | "verr" | "verw"): Helper {
  return (cpu, it) => {
    const { registers } = cpu;
    const withResult = kind === "lar" || kind === "lsl";
    const selector = Number(read(cpu, it, withResult ? 1 : 0, 16));
    const value = inspectDescriptor(cpu, selector, kind);
    registers.rflags = value === undefined ? registers.rflags & ~0x40 : registers.rflags | 0x40;
    if (withResult && value !== undefined) write(cpu, it, 0, BigInt(value >>> 0));
    return "continue";
  };
}

function inspectDescriptor(cpu: Cpu, selector: number, kind: string): number | undefined {
  try {
    const { attributes, limit } = readDescriptor(cpu, selector, vector.generalProtection);
    const isCode = (attributes & 0x18) === 0x18;
    const conforming = isCode && (attributes & 4) !== 0;
    const dpl = (attributes >> 5) & 3;
    if (!conforming && (cpu.registers.cpl > dpl || (selector & 3) > dpl)) return undefined;
    if (kind === "lar") return (attributes & 0xf0ff) << 8;
    if (kind === "lsl") return limit;
    if (!(attributes & 0x10)) return undefined;
    if (kind === "verr") return isCode && !(attributes & 2) ? undefined : 1;
    return !isCode && attributes & 2 ? 1 : undefined;
  } catch (fault) {
    if (fault instanceof GuestFault && fault.vector === vector.generalProtection) return undefined;
    throw fault;
  }
}

const clts = privileged((cpu) => {
  cpu.writeControl(0, cpu.readControl(0) & ~8n);
  return "leave";
});

const loadMachineStatus = privileged((cpu, it) => {
  const value = read(cpu, it, 0, 16) & 15n;
  const old = cpu.readControl(0);
  // PE can be set but not cleared.
  cpu.writeControl(0, (old & ~14n) | value);
  return "leave";
});

const storeMachineStatus: Helper = (cpu, it) => {
  const memory = it.kinds[0] === operandKind.memory;
  write(cpu, it, 0, cpu.readControl(0), memory ? 16 : it.size);
  return "continue";
};

export const undefinedInstruction: Helper = (cpu, it) => {
  cpu.statistics.countUndefined(it);
  throw invalidOpcode();
};

const nothing: Helper = () => "continue";

export const helpers: Readonly<Record<string, Helper>> = {
  hlt,
  cpuid: executeCpuid,
  rdtsc,
  rdtscp,
  vmcall,
  rdmsr,
  wrmsr,
  movfromcr: movFromControl,
  movtocr: movToControl,
  movfromdr: movFromDebug,
  movtodr: movToDebug,
  lgdt: loadTable("gdt"),
  lidt: loadTable("idt"),
  sgdt: storeTable("gdt"),
  sidt: storeTable("idt"),
  sldt: storeSelector(segmentIndex.ldtr),
  str: storeSelector(segmentIndex.tr),
  lldt: (cpu, it) => {
    loadSystemSegment(cpu, "ldtr", Number(read(cpu, it, 0, 16)));
    return "continue";
  },
  ltr: (cpu, it) => {
    loadSystemSegment(cpu, "tr", Number(read(cpu, it, 0, 16)));
    return "continue";
  },
  verr: inspect("verr"),
  verw: inspect("verw"),
  lar: inspect("lar"),
  lsl: inspect("lsl"),
  smsw: storeMachineStatus,
  lmsw: loadMachineStatus,
  clts,
  invlpg,
  invd: privileged(nothing),
  wbinvd: privileged(nothing),
  movtoseg: moveToSegment,
  movfromseg: moveFromSegment,
  pushseg: pushSegment,
  popseg: popSegment,
  iret: (cpu, it) => {
    interruptReturn(cpu, it.size);
    cpu.nmiMasked = false;
    return "leave";
  },
  syscall: (cpu) => {
    systemCall(cpu);
    return "leave";
  },
  sysret: (cpu, it) => {
    systemReturn(cpu, it.size);
    return "leave";
  },
  sysenter: (cpu) => {
    systemEnter(cpu);
    return "leave";
  },
  sysexit: (cpu, it) => {
    systemExit(cpu, it.size);
    return "leave";
  },
  into: (cpu) => {
    if (!(cpu.registers.rflags & 0x800)) return "continue";
    cpu.interrupt(vector.overflow, "software");
    return "leave";
  },
  // Its own #DB, which a debugger's DR6 does not explain.
  int1: (cpu) => {
    cpu.interrupt(vector.debug, "exception");
    return "leave";
  },
  int3: softwareInterrupt(() => vector.breakpoint),
  int: softwareInterrupt((it) => it.immediate & 0xff),
  in8: portIn,
  inv: portIn,
  out8: portOut,
  outv: portOut,
  ins8: portString(true),
  insv: portString(true),
  outs8: portString(false),
  outsv: portString(false),
  ud: undefinedInstruction,
};
