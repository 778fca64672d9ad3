/**
 * Programs whose output says whether a processor is right: interpreters and their JIT compilers,
 * compilers, cryptography, numbers, 32-bit code. Each is a shell script that reads $SOURCES, writes to
 * the current directory, and prints the same wherever it runs.
 */
import { fileURLToPath } from "node:url";

export interface Program {
  readonly name: string;
  /** Of the host: without them it cannot run. */
  readonly needs: readonly string[];
  readonly script: string;
  /** Part of the smaller set that runs in `npm test`. */
  readonly quick?: true;
}

/** Of Debian's busybox-static:i386, which npm run test:guest-programs brings. */
export const busybox32 = fileURLToPath(new URL("../../.cache/i386/busybox", import.meta.url));

const compile = (compiler: string) =>
  `${compiler} -o numbers $SOURCES/numbers.c -lm -lpthread && sha256sum numbers && ./numbers`;

/** Written with the sources' help, the same everywhere. */
const data = "i=0; while [ $i -lt 40 ]; do cat $SOURCES/*; i=$((i+1)); done > data";

// biome-ignore format: table
export const programs: readonly Program[] = [
  { name: "openssl digests", quick: true, needs: ["/usr/bin/openssl"],
    script: "for d in md5 sha1 sha256 sha512 sha3-256 blake2b512 sm3 ripemd160; do openssl dgst -$d $SOURCES/numbers.c | sed 's/.*= //'; done" },
  { name: "openssl ciphers", needs: ["/usr/bin/openssl"],
    script: "for c in aes-128-cbc aes-256-ctr chacha20 camellia-256-cbc aria-128-cbc des-ede3-cbc; do openssl enc -$c -K 00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff -iv 00112233445566778899aabbccddeeff -in $SOURCES/numbers.c 2>/dev/null | openssl dgst -sha256 | sed 's/.*= //'; done; openssl prime 1000003" },
  { name: "openssl signatures", needs: ["/usr/bin/openssl"],
    script: "openssl genrsa -out key 2048 2>/dev/null && openssl rsa -in key -pubout -out public 2>/dev/null && openssl dgst -sha256 -sign key -out signature $SOURCES/numbers.c && openssl dgst -sha256 -verify public -signature signature $SOURCES/numbers.c; openssl ecparam -name prime256v1 -genkey -noout -out ec && openssl dgst -sign ec -out s $SOURCES/numbers.c && openssl dgst -prverify ec -signature s $SOURCES/numbers.c" },
  { name: "openssl speed", needs: ["/usr/bin/openssl"],
    script: "openssl speed -seconds 1 -bytes 1024 sha256 aes-128-cbc 2>/dev/null | awk '/^(sha256|aes)/ { print $1, ($NF + 0 > 0) }'" },
  { name: "sqlite3", quick: true, needs: ["/usr/bin/sqlite3"],
    script: "sqlite3 base.db \"create table t(a integer primary key, b, c text); create index i on t(b); with recursive r(x) as (select 1 union all select x + 1 from r where x < 3000) insert into t select x, x * x % 97, hex(x) from r; select b, count(*), sum(a), avg(a / 3.0), max(c) from t group by b order by 3 desc limit 5; delete from t where a % 3 = 0; vacuum; select count(*), total(b), group_concat(distinct b % 5) from t; pragma integrity_check;\" && sqlite3 base.db \"select json_group_array(a), printf('%.15g', sum(sqrt(a))) from t where a < 40\"" },
  { name: "perl", quick: true, needs: ["/usr/bin/perl"],
    script: "perl -MDigest::SHA=sha1_hex -MList::Util=sum,shuffle -e 'my %h; $h{sha1_hex($_)} = $_ for 1 .. 3000; print join(\",\", (sort keys %h)[0 .. 3]), \"\\n\"; printf \"%.15g %s\\n\", sum(map { sqrt($_) * sin($_) } 1 .. 2000), join \",\", map { $_ * 7919 % 1009 } 1 .. 20; my $t = join \" \", 1 .. 4000; my $n = () = $t =~ /(\\d)\\1/g; print \"$n \", pack(\"w/a\", \"x\" x 5), \" \", scalar reverse(\"abc\"), \"\\n\"'" },
  { name: "python3", quick: true, needs: ["/usr/bin/python3"], script: "python3 -I -S -B $SOURCES/program.py" },
  { name: "awk, sort, sed, bc", needs: ["/usr/bin/awk", "/usr/bin/bc"],
    script: "awk 'BEGIN { srand(5); for (i = 0; i < 3000; i++) { x = (x * 1103515245 + 12345) % 2147483648; print x, sqrt(x) } }' > n; sort -k2,2g n | md5sum; sort -n n | sed -n '5p;$p'; echo 'scale=80; 4*a(1); e(1); sqrt(2)' | bc -l" },
  { name: "gzip, bzip2, xz, zstd, tar", needs: ["/usr/bin/xz", "/usr/bin/zstd", "/bin/bzip2"],
    script: `${data}; for z in 'gzip -n' bzip2 'xz -2' 'zstd -q -3'; do $z -c data > packed && md5sum < packed && $z -dc packed | cmp - data; done; tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C $SOURCES -cf - . | md5sum` },
  { name: "busybox", quick: true, needs: ["/bin/busybox"],
    script: "b=/bin/busybox; $b seq 1 3000 | $b sha512sum; $b seq 1 2000 | $b gzip | $b gunzip | $b md5sum; $b awk 'BEGIN { for (i = 0; i < 500; i++) s += sin(i) * exp(-i / 99); printf \"%.12f\\n\", s }'; echo '2 3 ^ 5 * 7 / p' | $b dc; $b seq 1 200 | $b shuf -n 0; $b printf '%x %o %e\\n' 255 8 1234.5; $b expr 12345 '*' 6789; $b seq 1 500 | $b sort -r | $b head -3" },
  { name: "busybox of 32 bits", needs: [busybox32],
    script: `b=${busybox32}; $b seq 1 3000 | $b sha512sum; $b seq 1 2000 | $b bzip2 | $b md5sum; $b awk 'BEGIN { for (i = 1; i < 500; i++) s += i / 7 - i % 3 / i; printf "%.12f\\n", s }'; $b sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i + 1)); done; echo $((i * 987654321 % 1000007)) $($b uname -s)'; echo '2 3 ^ 5 * 7 / p' | $b dc; $b printf '%x %o %e\\n' 255 8 1234.5` },
  { name: "node", needs: ["/usr/bin/node"], script: "node $SOURCES/program.mjs" },
  { name: "node, compiling eagerly", needs: ["/usr/bin/node"], script: "node --always-sparkplug --interrupt-budget=2000 --stress-compaction $SOURCES/program.mjs" },
  { name: "gcc -O2", needs: ["/usr/bin/gcc"], script: compile("gcc -O2") },
  { name: "gcc -O0 -g", needs: ["/usr/bin/gcc"], script: compile("gcc -O0") },
  { name: "gcc -O3, x87 arithmetic", needs: ["/usr/bin/gcc"], script: compile("gcc -O3 -mfpmath=387") },
  { name: "gcc -m32", needs: ["/usr/bin/gcc", "/usr/lib32/libc.so"], script: compile("gcc -m32 -O2") },
  { name: "musl", needs: ["/usr/bin/musl-gcc"], script: `${compile("musl-gcc -O2")} && ${compile("musl-gcc -O1 -static")}` },
  { name: "go", needs: ["/usr/lib/go-1.19/pkg/tool/linux_amd64/compile"], script: "export GOCACHE=$PWD/c GOROOT=/usr/lib/go-1.19 GOFLAGS=-p=1; echo 'package main\nfunc main() { c := make(chan int); go func() { s := 0; for i := 0; i < 1000000; i++ { s += i % 7 }; c <- s }(); m := map[int]string{}; for i := 0; i < 1000; i++ { m[i] = string(rune(65 + i % 26)) }; println(<-c, len(m), m[77]) }' > m.go; /usr/lib/go-1.19/bin/go run m.go 2>&1" },
  { name: "java", needs: ["/usr/bin/java", "/usr/bin/javac"], script: "javac -J-XX:-UsePerfData -J-Xmx256m -d . $SOURCES/Program.java && java -XX:-UsePerfData -Xmx128m Program" },
  { name: "java, interpreting", needs: ["/usr/bin/java", "/usr/bin/javac"], script: "javac -J-XX:-UsePerfData -J-Xmx256m -d . $SOURCES/Program.java && java -XX:-UsePerfData -Xint -Xmx128m Program" },
];
