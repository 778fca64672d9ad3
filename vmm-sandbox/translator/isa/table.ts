/**
 * The one table of x86 instructions. Decoder, interpreter, JIT, disassembler and tests read it.
 *
 *   [prefix] [map] opcode [/digit] [mem|reg] mnemonic [operands] [attributes]
 *
 * prefix   np none, 66, f3, f2 (mandatory); absent: any, 66 then selects the operand size
 * map      absent one byte, 0f, 0f38, 0f3a
 * opcode   hex; "50+" eight opcodes with the register in the low three bits
 * /digit   ModRM.reg, and .digit ModRM.rm; a row without it uses ModRM.reg as an operand or has no ModRM
 * mem|reg  only with a memory or only with a register ModRM.rm
 *
 * Operands are Intel's (SDM volume 2, appendix A.2): a letter where it is found and a size.
 *   E ModRM.rm general register or memory · G ModRM.reg · Z low opcode bits · R ModRM.rm, register
 *   M memory · I immediate · J branch displacement · O absolute address · S segment register
 *   C control register · D debug register · V/W/U xmm by reg/rm/rm register · P/Q/N mmx likewise
 *   b 8, w 16, d 32, q 64, x 128 bits; v by operand size 16/32/64; y 32/64; z 16/32 (immediates)
 *   s: byte immediate, sign-extended · a lone v: no operand, but the operand size matters · F: x87 · AL, CL, DX, rAX, 1 as they say
 *
 * Attributes: `d64` operand size 64 by default in 64-bit mode (no 32) · `f64` always 64 there ·
 *   `i64` invalid in 64-bit mode · `o64` only in 64-bit mode · `lock` may be locked
 *
 * Source: Intel SDM volume 2 (December 2024); AMD APM volume 3 (rev. 3.36).
 */
export const instructionTable = `
00 add Eb,Gb lock
01 add Ev,Gv lock
02 add Gb,Eb
03 add Gv,Ev
04 add AL,Ib
05 add rAX,Iz
06 pushseg v i64
07 popseg v i64
08 or Eb,Gb lock
09 or Ev,Gv lock
0a or Gb,Eb
0b or Gv,Ev
0c or AL,Ib
0d or rAX,Iz
0e pushseg v i64
10 adc Eb,Gb lock
11 adc Ev,Gv lock
12 adc Gb,Eb
13 adc Gv,Ev
14 adc AL,Ib
15 adc rAX,Iz
16 pushseg v i64
17 popseg v i64
18 sbb Eb,Gb lock
19 sbb Ev,Gv lock
1a sbb Gb,Eb
1b sbb Gv,Ev
1c sbb AL,Ib
1d sbb rAX,Iz
1e pushseg v i64
1f popseg v i64
20 and Eb,Gb lock
21 and Ev,Gv lock
22 and Gb,Eb
23 and Gv,Ev
24 and AL,Ib
25 and rAX,Iz
27 daa i64
28 sub Eb,Gb lock
29 sub Ev,Gv lock
2a sub Gb,Eb
2b sub Gv,Ev
2c sub AL,Ib
2d sub rAX,Iz
2f das i64
30 xor Eb,Gb lock
31 xor Ev,Gv lock
32 xor Gb,Eb
33 xor Gv,Ev
34 xor AL,Ib
35 xor rAX,Iz
37 aaa i64
38 cmp Eb,Gb
39 cmp Ev,Gv
3a cmp Gb,Eb
3b cmp Gv,Ev
3c cmp AL,Ib
3d cmp rAX,Iz
3f aas i64
40+ inc Zv i64
48+ dec Zv i64
50+ push Zv d64
58+ pop Zv d64
60 pusha v i64
61 popa v i64
62 mem bound Gv,M i64
63 arpl Ew,Gw i64
63 movsxd Gv,Ed o64
68 push Iz d64
69 imul3 Gv,Ev,Iz
6a push Is d64
6b imul3 Gv,Ev,Is
6c ins8
6d insv v
6e outs8
6f outsv v
70 jcc Jb f64
71 jcc Jb f64
72 jcc Jb f64
73 jcc Jb f64
74 jcc Jb f64
75 jcc Jb f64
76 jcc Jb f64
77 jcc Jb f64
78 jcc Jb f64
79 jcc Jb f64
7a jcc Jb f64
7b jcc Jb f64
7c jcc Jb f64
7d jcc Jb f64
7e jcc Jb f64
7f jcc Jb f64
80 /0 add Eb,Ib lock
80 /1 or Eb,Ib lock
80 /2 adc Eb,Ib lock
80 /3 sbb Eb,Ib lock
80 /4 and Eb,Ib lock
80 /5 sub Eb,Ib lock
80 /6 xor Eb,Ib lock
80 /7 cmp Eb,Ib
82 /0 add Eb,Ib lock i64
82 /1 or Eb,Ib lock i64
82 /2 adc Eb,Ib lock i64
82 /3 sbb Eb,Ib lock i64
82 /4 and Eb,Ib lock i64
82 /5 sub Eb,Ib lock i64
82 /6 xor Eb,Ib lock i64
82 /7 cmp Eb,Ib i64
81 /0 add Ev,Iz lock
81 /1 or Ev,Iz lock
81 /2 adc Ev,Iz lock
81 /3 sbb Ev,Iz lock
81 /4 and Ev,Iz lock
81 /5 sub Ev,Iz lock
81 /6 xor Ev,Iz lock
81 /7 cmp Ev,Iz
83 /0 add Ev,Is lock
83 /1 or Ev,Is lock
83 /2 adc Ev,Is lock
83 /3 sbb Ev,Is lock
83 /4 and Ev,Is lock
83 /5 sub Ev,Is lock
83 /6 xor Ev,Is lock
83 /7 cmp Ev,Is
84 test Eb,Gb
85 test Ev,Gv
86 xchg Eb,Gb lock
87 xchg Ev,Gv lock
88 mov Eb,Gb
89 mov Ev,Gv
8a mov Gb,Eb
8b mov Gv,Ev
8c mem movfromseg Mw,Sw
8c reg movfromseg Rv,Sw
8d mem lea Gv,M
8e movtoseg Sw,Ew
8f /0 pop Ev d64
90+ xchg Zv,rAX
np 90 nop
66 90 nop
f2 90 nop
f3 90 pause
98 cbw v
99 cwd v
9a callptr Iz,Iw i64
9b fwait
9c pushf v d64
9d popf v d64
9e sahf
9f lahf
a0 mov AL,Ob
a1 mov rAX,Ov
a2 mov Ob,AL
a3 mov Ov,rAX
a4 movs8
a5 movsv v
a6 cmps8
a7 cmpsv v
a8 test AL,Ib
a9 test rAX,Iz
aa stos8
ab stosv v
ac lods8
ad lodsv v
ae scas8
af scasv v
b0+ mov Zb,Ib
b8+ mov Zv,Iv
c0 /0 rol Eb,Ib
c0 /1 ror Eb,Ib
c0 /2 rcl Eb,Ib
c0 /3 rcr Eb,Ib
c0 /4 shl Eb,Ib
c0 /5 shr Eb,Ib
c0 /6 shl Eb,Ib
c0 /7 sar Eb,Ib
c1 /0 rol Ev,Ib
c1 /1 ror Ev,Ib
c1 /2 rcl Ev,Ib
c1 /3 rcr Ev,Ib
c1 /4 shl Ev,Ib
c1 /5 shr Ev,Ib
c1 /6 shl Ev,Ib
c1 /7 sar Ev,Ib
c2 retn Iw f64
c3 ret f64
c4 mem lfar Gv,M i64
c5 mem lfar Gv,M i64
c6 /0 mov Eb,Ib
c7 /0 mov Ev,Iz
c8 enter Iw,Ib d64
c9 leave v d64
ca retfar v,Iw
cb retfar v
cc int3
cd int Ib
ce into i64
cf iret v
d0 /0 rol Eb,1
d0 /1 ror Eb,1
d0 /2 rcl Eb,1
d0 /3 rcr Eb,1
d0 /4 shl Eb,1
d0 /5 shr Eb,1
d0 /6 shl Eb,1
d0 /7 sar Eb,1
d1 /0 rol Ev,1
d1 /1 ror Ev,1
d1 /2 rcl Ev,1
d1 /3 rcr Ev,1
d1 /4 shl Ev,1
d1 /5 shr Ev,1
d1 /6 shl Ev,1
d1 /7 sar Ev,1
d2 /0 rol Eb,CL
d2 /1 ror Eb,CL
d2 /2 rcl Eb,CL
d2 /3 rcr Eb,CL
d2 /4 shl Eb,CL
d2 /5 shr Eb,CL
d2 /6 shl Eb,CL
d2 /7 sar Eb,CL
d3 /0 rol Ev,CL
d3 /1 ror Ev,CL
d3 /2 rcl Ev,CL
d3 /3 rcr Ev,CL
d3 /4 shl Ev,CL
d3 /5 shr Ev,CL
d3 /6 shl Ev,CL
d3 /7 sar Ev,CL
d4 aam Ib i64
d5 aad Ib i64
d6 salc i64
d7 xlat
d8 fpu v,F
d9 fpu v,F
da fpu v,F
db fpu v,F
dc fpu v,F
dd fpu v,F
de fpu v,F
df fpu v,F
e0 loopne Jb f64
e1 loope Jb f64
e2 loop Jb f64
e3 jcxz Jb f64
e4 in8 Ib
e5 inv v,Ib
e6 out8 Ib
e7 outv v,Ib
e8 call Jz f64
e9 jmp Jz f64
ea jmpptr Iz,Iw i64
eb jmp Jb f64
ec in8
ed inv v
ee out8
ef outv v
f1 int1
f4 hlt
f5 cmc
f6 /0 test Eb,Ib
f6 /1 test Eb,Ib
f6 /2 not Eb lock
f6 /3 neg Eb lock
f6 /4 mul Eb
f6 /5 imul Eb
f6 /6 div Eb
f6 /7 idiv Eb
f7 /0 test Ev,Iz
f7 /1 test Ev,Iz
f7 /2 not Ev lock
f7 /3 neg Ev lock
f7 /4 mul Ev
f7 /5 imul Ev
f7 /6 div Ev
f7 /7 idiv Ev
f8 clc
f9 stc
fa cli
fb sti
fc cld
fd std
fe /0 inc Eb lock
fe /1 dec Eb lock
ff /0 inc Ev lock
ff /1 dec Ev lock
ff /2 callind Ev f64
ff /3 mem callfar v,M
ff /4 jmpind Ev f64
ff /5 mem jmpfar v,M
ff /6 push Ev d64

0f 00 /0 sldt Ev
0f 00 /1 str Ev
0f 00 /2 lldt Ew
0f 00 /3 ltr Ew
0f 00 /4 verr Ew
0f 00 /5 verw Ew
0f 01 /0 mem sgdt M
0f 01 /1 mem sidt M
0f 01 /2 mem lgdt v,M
0f 01 /3 mem lidt v,M
0f 01 /0.1 reg vmcall
0f 01 /1.2 reg clac
0f 01 /1.3 reg stac
0f 01 /2.0 reg xgetbv
0f 01 /2.1 reg xsetbv
0f 01 /4 smsw Ev
0f 01 /6 lmsw Ew
0f 01 /7 mem invlpg M
0f 01 /7.0 reg swapgs o64
0f 01 /7.1 reg rdtscp
0f 02 lar Gv,Ew
0f 03 lsl Gv,Ew
0f 05 syscall o64
0f 06 clts
0f 07 sysret v o64
0f 08 invd
0f 09 wbinvd
0f 0b ud
0f 0d mem prefetch Mb
np 0f 10 movups Vx,Wx
66 0f 10 movups Vx,Wx
f3 0f 10 mem movd Vx,Md
f3 0f 10 reg movss Vx,Ux
f2 0f 10 mem movq Vx,Mq
f2 0f 10 reg movsd Vx,Ux
np 0f 11 movups Wx,Vx
66 0f 11 movups Wx,Vx
f3 0f 11 mem movd Md,Vx
f3 0f 11 reg movss Ux,Vx
f2 0f 11 mem movq Mq,Vx
f2 0f 11 reg movsd Ux,Vx
np 0f 12 mem movlps Vx,Mq
np 0f 12 reg movhlps Vx,Ux
66 0f 12 mem movlps Vx,Mq
f3 0f 12 movsldup Vx,Wx
f2 0f 12 movddup Vx,Wq
np 0f 13 mem movq Mq,Vx
66 0f 13 mem movq Mq,Vx
np 0f 14 punpckldq2 Vx,Wx
66 0f 14 punpcklqdq Vx,Wx
np 0f 15 punpckhdq2 Vx,Wx
66 0f 15 punpckhqdq Vx,Wx
np 0f 16 mem movhps Vx,Mq
np 0f 16 reg movlhps Vx,Ux
66 0f 16 mem movhps Vx,Mq
f3 0f 16 movshdup Vx,Wx
np 0f 17 mem movhps Mq,Vx
66 0f 17 mem movhps Mq,Vx
0f 18 nop Ev
0f 19 nop Ev
0f 1a nop Ev
0f 1b nop Ev
0f 1c nop Ev
0f 1d nop Ev
0f 1e nop Ev
0f 1f nop Ev
0f 20 movfromcr Rq,Cd f64
0f 21 movfromdr Rq,Dd f64
0f 22 movtocr Cd,Rq f64
0f 23 movtodr Dd,Rq f64
np 0f 28 movaps Vx,Wx
66 0f 28 movaps Vx,Wx
np 0f 29 movaps Wx,Vx
66 0f 29 movaps Wx,Vx
f3 0f 2a cvtsi2ss Vx,Ey
f2 0f 2a cvtsi2sd Vx,Ey
np 0f 2a cvtpi2psmm Vx,Qq
66 0f 2a cvtpi2pdmm Vx,Qq
np 0f 2c cvttps2pimm Pq,Wq
66 0f 2c cvttpd2pimm Pq,Wx
np 0f 2d cvtps2pimm Pq,Wq
66 0f 2d cvtpd2pimm Pq,Wx
np 0f 2b mem movaps Mx,Vx
66 0f 2b mem movaps Mx,Vx
f3 0f 2c cvttss2si Gy,Wd
f2 0f 2c cvttsd2si Gy,Wq
f3 0f 2d cvtss2si Gy,Wd
f2 0f 2d cvtsd2si Gy,Wq
np 0f 2e ucomiss Vx,Wd
66 0f 2e ucomisd Vx,Wq
np 0f 2f ucomiss Vx,Wd
66 0f 2f ucomisd Vx,Wq
0f 30 wrmsr
0f 31 rdtsc
0f 32 rdmsr
0f 33 rdpmc
0f 34 sysenter
0f 35 sysexit v
0f 40 cmov Gv,Ev
0f 41 cmov Gv,Ev
0f 42 cmov Gv,Ev
0f 43 cmov Gv,Ev
0f 44 cmov Gv,Ev
0f 45 cmov Gv,Ev
0f 46 cmov Gv,Ev
0f 47 cmov Gv,Ev
0f 48 cmov Gv,Ev
0f 49 cmov Gv,Ev
0f 4a cmov Gv,Ev
0f 4b cmov Gv,Ev
0f 4c cmov Gv,Ev
0f 4d cmov Gv,Ev
0f 4e cmov Gv,Ev
0f 4f cmov Gv,Ev
np 0f 50 reg movmskps Gy,Ux
66 0f 50 reg movmskpd Gy,Ux
np 0f 51 sqrtps Vx,Wx
66 0f 51 sqrtpd Vx,Wx
f3 0f 51 sqrtss Vx,Wd
f2 0f 51 sqrtsd Vx,Wq
np 0f 52 rsqrtps Vx,Wx
f3 0f 52 rsqrtss Vx,Wd
np 0f 53 rcpps Vx,Wx
f3 0f 53 rcpss Vx,Wd
np 0f 54 pand Vx,Wx
66 0f 54 pand Vx,Wx
np 0f 55 pandn Vx,Wx
66 0f 55 pandn Vx,Wx
np 0f 56 por Vx,Wx
66 0f 56 por Vx,Wx
np 0f 57 pxor Vx,Wx
66 0f 57 pxor Vx,Wx
np 0f 58 addps Vx,Wx
66 0f 58 addpd Vx,Wx
f3 0f 58 addss Vx,Wd
f2 0f 58 addsd Vx,Wq
np 0f 59 mulps Vx,Wx
66 0f 59 mulpd Vx,Wx
f3 0f 59 mulss Vx,Wd
f2 0f 59 mulsd Vx,Wq
np 0f 5a cvtps2pd Vx,Wq
66 0f 5a cvtpd2ps Vx,Wx
f3 0f 5a cvtss2sd Vx,Wd
f2 0f 5a cvtsd2ss Vx,Wq
np 0f 5b cvtdq2ps Vx,Wx
66 0f 5b cvtps2dq Vx,Wx
f3 0f 5b cvttps2dq Vx,Wx
np 0f 5c subps Vx,Wx
66 0f 5c subpd Vx,Wx
f3 0f 5c subss Vx,Wd
f2 0f 5c subsd Vx,Wq
np 0f 5d minps Vx,Wx
66 0f 5d minpd Vx,Wx
f3 0f 5d minss Vx,Wd
f2 0f 5d minsd Vx,Wq
np 0f 5e divps Vx,Wx
66 0f 5e divpd Vx,Wx
f3 0f 5e divss Vx,Wd
f2 0f 5e divsd Vx,Wq
np 0f 5f maxps Vx,Wx
66 0f 5f maxpd Vx,Wx
f3 0f 5f maxss Vx,Wd
f2 0f 5f maxsd Vx,Wq
66 0f 60 punpcklbw Vx,Wx
66 0f 61 punpcklwd Vx,Wx
66 0f 62 punpckldq Vx,Wx
66 0f 63 packsswb Vx,Wx
66 0f 64 pcmpgtb Vx,Wx
66 0f 65 pcmpgtw Vx,Wx
66 0f 66 pcmpgtd Vx,Wx
66 0f 67 packuswb Vx,Wx
66 0f 68 punpckhbw Vx,Wx
66 0f 69 punpckhwd Vx,Wx
66 0f 6a punpckhdq Vx,Wx
66 0f 6b packssdw Vx,Wx
66 0f 6c punpcklqdq Vx,Wx
66 0f 6d punpckhqdq Vx,Wx
66 0f 6e movgx Vx,Ey
66 0f 6f movaps Vx,Wx
f3 0f 6f movups Vx,Wx
66 0f 70 pshufd Vx,Wx,Ib
f3 0f 70 pshufhw Vx,Wx,Ib
f2 0f 70 pshuflw Vx,Wx,Ib
66 0f 71 /2 reg psrlw Ux,Ib
66 0f 71 /4 reg psraw Ux,Ib
66 0f 71 /6 reg psllw Ux,Ib
66 0f 72 /2 reg psrld Ux,Ib
66 0f 72 /4 reg psrad Ux,Ib
66 0f 72 /6 reg pslld Ux,Ib
66 0f 73 /2 reg psrlq Ux,Ib
66 0f 73 /3 reg psrldq Ux,Ib
66 0f 73 /6 reg psllq Ux,Ib
66 0f 73 /7 reg pslldq Ux,Ib
66 0f 74 pcmpeqb Vx,Wx
66 0f 75 pcmpeqw Vx,Wx
66 0f 76 pcmpeqd Vx,Wx
66 0f 7c haddpd Vx,Wx
f2 0f 7c haddps Vx,Wx
66 0f 7d hsubpd Vx,Wx
f2 0f 7d hsubps Vx,Wx
66 0f 7e movxg Ey,Vx
f3 0f 7e movq Vx,Wq
66 0f 7f movaps Wx,Vx
f3 0f 7f movups Wx,Vx
0f 80 jcc Jz f64
0f 81 jcc Jz f64
0f 82 jcc Jz f64
0f 83 jcc Jz f64
0f 84 jcc Jz f64
0f 85 jcc Jz f64
0f 86 jcc Jz f64
0f 87 jcc Jz f64
0f 88 jcc Jz f64
0f 89 jcc Jz f64
0f 8a jcc Jz f64
0f 8b jcc Jz f64
0f 8c jcc Jz f64
0f 8d jcc Jz f64
0f 8e jcc Jz f64
0f 8f jcc Jz f64
0f 90 setcc Eb
0f 91 setcc Eb
0f 92 setcc Eb
0f 93 setcc Eb
0f 94 setcc Eb
0f 95 setcc Eb
0f 96 setcc Eb
0f 97 setcc Eb
0f 98 setcc Eb
0f 99 setcc Eb
0f 9a setcc Eb
0f 9b setcc Eb
0f 9c setcc Eb
0f 9d setcc Eb
0f 9e setcc Eb
0f 9f setcc Eb
0f a0 pushseg v d64
0f a1 popseg v d64
0f a2 cpuid
0f a3 bt Ev,Gv
0f a4 shld Ev,Gv,Ib
0f a5 shld Ev,Gv,CL
0f a8 pushseg v d64
0f a9 popseg v d64
0f ab bts Ev,Gv lock
0f ac shrd Ev,Gv,Ib
0f ad shrd Ev,Gv,CL
0f ae /0 mem fxsave v,M
0f ae /1 mem fxrstor v,M
0f ae /2 mem ldmxcsr Md
0f ae /3 mem stmxcsr Md
0f ae /5 reg lfence
0f ae /6 reg mfence
0f ae /7 reg sfence
0f ae /7 mem clflush Mb
f3 0f ae /0 reg rdfsbase Ry o64
f3 0f ae /1 reg rdgsbase Ry o64
f3 0f ae /2 reg wrfsbase Ry o64
f3 0f ae /3 reg wrgsbase Ry o64
0f af imul Gv,Ev
0f b0 cmpxchg Eb,Gb lock
0f b1 cmpxchg Ev,Gv lock
0f b2 mem lfar Gv,M
0f b3 btr Ev,Gv lock
0f b4 mem lfar Gv,M
0f b5 mem lfar Gv,M
0f b6 movzx Gv,Eb
0f b7 movzx Gv,Ew
f3 0f b8 popcnt Gv,Ev
0f b9 ud
0f ba /4 bt Ev,Ib
0f ba /5 bts Ev,Ib lock
0f ba /6 btr Ev,Ib lock
0f ba /7 btc Ev,Ib lock
0f bb btc Ev,Gv lock
0f bc bsf Gv,Ev
0f bd bsr Gv,Ev
0f be movsx Gv,Eb
0f bf movsx Gv,Ew
0f c0 xadd Eb,Gb lock
0f c1 xadd Ev,Gv lock
np 0f c2 cmpps Vx,Wx,Ib
66 0f c2 cmppd Vx,Wx,Ib
f3 0f c2 cmpss Vx,Wd,Ib
f2 0f c2 cmpsd Vx,Wq,Ib
np 0f c3 mem mov My,Gy
66 0f c4 reg pinsrw Vx,Rd,Ib
66 0f c4 mem pinsrw Vx,Mw,Ib
66 0f c5 reg pextrw Gd,Ux,Ib
np 0f c6 shufps Vx,Wx,Ib
66 0f c6 shufpd Vx,Wx,Ib
0f c7 /1 mem cmpxchg16b My lock
0f c7 /6 reg rdrand Rv
0f c8+ bswap Zy
66 0f d0 addsubpd Vx,Wx
f2 0f d0 addsubps Vx,Wx
66 0f d1 psrlw Vx,Wx
66 0f d2 psrld Vx,Wx
66 0f d3 psrlq Vx,Wx
66 0f d4 paddq Vx,Wx
66 0f d5 pmullw Vx,Wx
66 0f d6 mem movq Mq,Vx
66 0f d6 reg movq Ux,Vx
66 0f d7 reg pmovmskb Gd,Ux
66 0f d8 psubusb Vx,Wx
66 0f d9 psubusw Vx,Wx
66 0f da pminub Vx,Wx
66 0f db pand Vx,Wx
66 0f dc paddusb Vx,Wx
66 0f dd paddusw Vx,Wx
66 0f de pmaxub Vx,Wx
66 0f df pandn Vx,Wx
66 0f e0 pavgb Vx,Wx
66 0f e1 psraw Vx,Wx
66 0f e2 psrad Vx,Wx
66 0f e3 pavgw Vx,Wx
66 0f e4 pmulhuw Vx,Wx
66 0f e5 pmulhw Vx,Wx
66 0f e6 cvttpd2dq Vx,Wx
f3 0f e6 cvtdq2pd Vx,Wq
f2 0f e6 cvtpd2dq Vx,Wx
66 0f e7 mem movaps Mx,Vx
66 0f e8 psubsb Vx,Wx
66 0f e9 psubsw Vx,Wx
66 0f ea pminsw Vx,Wx
66 0f eb por Vx,Wx
66 0f ec paddsb Vx,Wx
66 0f ed paddsw Vx,Wx
66 0f ee pmaxsw Vx,Wx
66 0f ef pxor Vx,Wx
f2 0f f0 mem movups Vx,Mx
66 0f f1 psllw Vx,Wx
66 0f f2 pslld Vx,Wx
66 0f f3 psllq Vx,Wx
66 0f f4 pmuludq Vx,Wx
66 0f f5 pmaddwd Vx,Wx
66 0f f6 psadbw Vx,Wx
66 0f f8 psubb Vx,Wx
66 0f f9 psubw Vx,Wx
66 0f fa psubd Vx,Wx
66 0f fb psubq Vx,Wx
66 0f fc paddb Vx,Wx
66 0f fd paddw Vx,Wx
66 0f fe paddd Vx,Wx
0f ff ud

66 0f38 00 pshufb Vx,Wx
66 0f38 01 phaddw Vx,Wx
66 0f38 02 phaddd Vx,Wx
66 0f38 03 phaddsw Vx,Wx
66 0f38 04 pmaddubsw Vx,Wx
66 0f38 05 phsubw Vx,Wx
66 0f38 06 phsubd Vx,Wx
66 0f38 07 phsubsw Vx,Wx
66 0f38 08 psignb Vx,Wx
66 0f38 09 psignw Vx,Wx
66 0f38 0a psignd Vx,Wx
66 0f38 0b pmulhrsw Vx,Wx
66 0f38 10 pblendvb Vx,Wx
66 0f38 14 blendvps Vx,Wx
66 0f38 15 blendvpd Vx,Wx
66 0f38 17 ptest Vx,Wx
66 0f38 1c pabsb Vx,Wx
66 0f38 1d pabsw Vx,Wx
66 0f38 1e pabsd Vx,Wx
66 0f38 20 pmovsxbw Vx,Wq
66 0f38 21 pmovsxbd Vx,Wd
66 0f38 22 pmovsxbq Vx,Ww
66 0f38 23 pmovsxwd Vx,Wq
66 0f38 24 pmovsxwq Vx,Wd
66 0f38 25 pmovsxdq Vx,Wq
66 0f38 28 pmuldq Vx,Wx
66 0f38 29 pcmpeqq Vx,Wx
66 0f38 2a mem movaps Vx,Mx
66 0f38 2b packusdw Vx,Wx
66 0f38 30 pmovzxbw Vx,Wq
66 0f38 31 pmovzxbd Vx,Wd
66 0f38 32 pmovzxbq Vx,Ww
66 0f38 33 pmovzxwd Vx,Wq
66 0f38 34 pmovzxwq Vx,Wd
66 0f38 35 pmovzxdq Vx,Wq
66 0f38 37 pcmpgtq Vx,Wx
66 0f38 38 pminsb Vx,Wx
66 0f38 39 pminsd Vx,Wx
66 0f38 3a pminuw Vx,Wx
66 0f38 3b pminud Vx,Wx
66 0f38 3c pmaxsb Vx,Wx
66 0f38 3d pmaxsd Vx,Wx
66 0f38 3e pmaxuw Vx,Wx
66 0f38 3f pmaxud Vx,Wx
66 0f38 40 pmulld Vx,Wx
66 0f38 41 phminposuw Vx,Wx
f2 0f38 f0 crc32 Gy,Eb
f2 0f38 f1 crc32 Gy,Ev
66 0f3a 08 roundps Vx,Wx,Ib
66 0f3a 09 roundpd Vx,Wx,Ib
66 0f3a 0a roundss Vx,Wd,Ib
66 0f3a 0b roundsd Vx,Wq,Ib
66 0f3a 0c blendps Vx,Wx,Ib
66 0f3a 0d blendpd Vx,Wx,Ib
66 0f3a 0e pblendw Vx,Wx,Ib
66 0f3a 0f palignr Vx,Wx,Ib
66 0f3a 14 reg pextrb Rd,Vx,Ib
66 0f3a 14 mem pextrb Mb,Vx,Ib
66 0f3a 15 reg pextrw2 Rd,Vx,Ib
66 0f3a 15 mem pextrw2 Mw,Vx,Ib
66 0f3a 16 pextr Ey,Vx,Ib
66 0f3a 17 pextr Ed,Vx,Ib
66 0f3a 20 reg pinsrb Vx,Rd,Ib
66 0f3a 20 mem pinsrb Vx,Mb,Ib
66 0f3a 21 insertps Vx,Wd,Ib
66 0f3a 22 pinsr Vx,Ey,Ib
66 0f3a 40 dpps Vx,Wx,Ib
66 0f3a 41 dppd Vx,Wx,Ib
66 0f3a 42 mpsadbw Vx,Wx,Ib
66 0f3a 60 pcmpestrm Vx,Wx,Ib
66 0f3a 61 pcmpestri Vx,Wx,Ib
66 0f3a 62 pcmpistrm Vx,Wx,Ib
66 0f3a 63 pcmpistri Vx,Wx,Ib

np 0f 60 punpcklbwmm Pq,Qd
np 0f 61 punpcklwdmm Pq,Qd
np 0f 62 punpckldqmm Pq,Qd
np 0f 63 packsswbmm Pq,Qq
np 0f 64 pcmpgtbmm Pq,Qq
np 0f 65 pcmpgtwmm Pq,Qq
np 0f 66 pcmpgtdmm Pq,Qq
np 0f 67 packuswbmm Pq,Qq
np 0f 68 punpckhbwmm Pq,Qq
np 0f 69 punpckhwdmm Pq,Qq
np 0f 6a punpckhdqmm Pq,Qq
np 0f 6b packssdwmm Pq,Qq
np 0f 6e movgmm Pq,Ey
np 0f 6f movqmm Pq,Qq
np 0f 70 pshufwmm Pq,Qq,Ib
np 0f 71 /2 reg psrlwmm Nq,Ib
np 0f 71 /4 reg psrawmm Nq,Ib
np 0f 71 /6 reg psllwmm Nq,Ib
np 0f 72 /2 reg psrldmm Nq,Ib
np 0f 72 /4 reg psradmm Nq,Ib
np 0f 72 /6 reg pslldmm Nq,Ib
np 0f 73 /2 reg psrlqmm Nq,Ib
np 0f 73 /6 reg psllqmm Nq,Ib
np 0f 74 pcmpeqbmm Pq,Qq
np 0f 75 pcmpeqwmm Pq,Qq
np 0f 76 pcmpeqdmm Pq,Qq
np 0f 77 emms
np 0f 7e movxmm Ey,Pq
np 0f 7f movqmm Qq,Pq
np 0f c4 reg pinsrwmm Pq,Rd,Ib
np 0f c4 mem pinsrwmm Pq,Mw,Ib
np 0f c5 reg pextrwmm Gd,Nq,Ib
np 0f d1 psrlwmm Pq,Qq
np 0f d2 psrldmm Pq,Qq
np 0f d3 psrlqmm Pq,Qq
np 0f d4 paddqmm Pq,Qq
np 0f d5 pmullwmm Pq,Qq
np 0f d8 psubusbmm Pq,Qq
np 0f d9 psubuswmm Pq,Qq
np 0f da pminubmm Pq,Qq
np 0f db pandmm Pq,Qq
np 0f dc paddusbmm Pq,Qq
np 0f dd padduswmm Pq,Qq
np 0f de pmaxubmm Pq,Qq
np 0f df pandnmm Pq,Qq
np 0f e0 pavgbmm Pq,Qq
np 0f e1 psrawmm Pq,Qq
np 0f e2 psradmm Pq,Qq
np 0f e3 pavgwmm Pq,Qq
np 0f e4 pmulhuwmm Pq,Qq
np 0f e5 pmulhwmm Pq,Qq
np 0f e8 psubsbmm Pq,Qq
np 0f e9 psubswmm Pq,Qq
np 0f ea pminswmm Pq,Qq
np 0f eb pormm Pq,Qq
np 0f ec paddsbmm Pq,Qq
np 0f ed paddswmm Pq,Qq
np 0f ee pmaxswmm Pq,Qq
np 0f ef pxormm Pq,Qq
np 0f f1 psllwmm Pq,Qq
np 0f f2 pslldmm Pq,Qq
np 0f f3 psllqmm Pq,Qq
np 0f f4 pmuludqmm Pq,Qq
np 0f f5 pmaddwdmm Pq,Qq
np 0f f6 psadbwmm Pq,Qq
np 0f f8 psubbmm Pq,Qq
np 0f f9 psubwmm Pq,Qq
np 0f fa psubdmm Pq,Qq
np 0f fb psubqmm Pq,Qq
np 0f fc paddbmm Pq,Qq
np 0f fd paddwmm Pq,Qq
np 0f fe padddmm Pq,Qq
f3 0f d6 reg movq2dqmm Vx,Nq
f2 0f d6 reg movdq2qmm Pq,Ux
np 0f d7 reg pmovmskbmm Gd,Nq
np 0f e7 mem movqmm Mq,Pq
np 0f f7 reg maskmovqmm Pq,Nq
66 0f f7 reg maskmovdqu Vx,Ux
np 0f38 00 pshufbmm Pq,Qq
np 0f38 01 phaddwmm Pq,Qq
np 0f38 02 phadddmm Pq,Qq
np 0f38 03 phaddswmm Pq,Qq
np 0f38 04 pmaddubswmm Pq,Qq
np 0f38 05 phsubwmm Pq,Qq
np 0f38 06 phsubdmm Pq,Qq
np 0f38 07 phsubswmm Pq,Qq
np 0f38 08 psignbmm Pq,Qq
np 0f38 09 psignwmm Pq,Qq
np 0f38 0a psigndmm Pq,Qq
np 0f38 0b pmulhrswmm Pq,Qq
np 0f38 1c pabsbmm Pq,Qq
np 0f38 1d pabswmm Pq,Qq
np 0f38 1e pabsdmm Pq,Qq
np 0f3a 0f palignrmm Pq,Qq,Ib
`;
