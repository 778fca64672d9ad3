/** FEX's tests whose expectation is not what our processor owes, by a part of their path, and why. */
export const exceptions: readonly (readonly [part: string, why: string])[] = [
  ["FEX_bugs/InlineSyscall", "calls an operating system"],
  ["FEX_bugs/32bit_syscall", "calls an operating system"],
  ["TwoByte/0F_02", "calls an operating system"],
  ["FEX_bugs/VEXW_Bug", "BMI2 is not offered"],
  ["FEX_bugs/pdep_overlap", "BMI2 is not offered"],
  ["FEX_bugs/REX/0F_38", "ADX is not offered"],
  ["FEX_bugs/vroundscalar_sve256", "AVX is not offered"],
  ["FEX_bugs/o16_cvttss2si", "AVX is not offered"],
  ["FEX_bugs/o16_movd", "AVX is not offered"],
  ["modrm_oob/DDD", "3DNow! is not offered"],
  ["modrm_oob/H0F38", "SHA is not offered"],
  ["modrm_oob/H0F3A", "PCLMULQDQ and AES are not offered"],
  ["modrm_oob/VEX", "AVX is not offered"],
  ["REP/F3_BD", "LZCNT is not offered: the prefix means nothing and BSR runs"],
  ["Primary/Pop_Segments", "loads a null selector into SS, which faults"],
  ["Primary/Primary_8C", "loads selectors that name no descriptor"],
  [
    "Primary/Primary_E8",
    "AMD: a near call of 16 bits in 64-bit code. Ours is Intel's, SDM volume 2, CALL",
  ],
  ["Primary/Primary_E9", "the same of JMP"],
  ["PrimaryGroup/5_FF_05", "AMD: REX.W does not make a far pointer of 64 bits. Ours is Intel's"],
  ["Secondary/07_XX_00", "SGDT: a table of FEX's own"],
  ["Secondary/07_XX_04", "SMSW as Linux emulates it; a 32-bit result clears the upper half"],
  ["X87/D9_F2", "FPTAN, one unit in the last place"],
  ["X87/D9_F9", "FYL2XP1 of an operand for which it is not defined"],
  ["X87/FXAM_Simple", "says itself that processors differ"],
  ["X87/X87MMXInteraction", "tags that FNSAVE computes; the host's are ours"],
];

export function exceptionFor(name: string): string | undefined {
  return exceptions.find(([part]) => name.includes(part))?.[1];
}
