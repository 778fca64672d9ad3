/* Integers, doubles, long doubles, strings, signals, threads and setjmp: the same output anywhere. */
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static uint64_t seed = 88172645463325252ull;
static uint64_t next(void) {
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

static void integers(void) {
  uint64_t sum = 0;
  int64_t quotients = 0;
  for (int i = 0; i < 20000; i++) {
    uint64_t a = next(), b = next() >> (next() & 63);
    if (b == 0) continue;
    sum += a / b + a % b + (a << (b & 63)) + __builtin_popcountll(a) + (a * b >> 3);
    quotients += (int64_t)a / ((int64_t)b | 1) - (int32_t)a % ((int32_t)b | 1);
    sum ^= (uint64_t)(int16_t)a * (uint8_t)b + __builtin_bswap64(a);
  }
  printf("integers %" PRIx64 " %" PRId64 "\n", sum, quotients);
}

static void doubles(void) {
  double sum = 0;
  float single = 0;
  for (int i = 1; i < 5000; i++) {
    double x = (double)(int64_t)next() / 1e15;
    sum += sin(x) * exp(-fabs(x) / 1e4) + sqrt(fabs(x)) - floor(x / 3) + fmod(x, 7.25);
    single += (float)x / (float)i;
  }
  printf("doubles %.17g %.9g %a\n", sum, (double)single, nextafter(1, 2));
  printf("%g %g %g %d\n", 1 / 0.0, -1 / 0.0, DBL_MIN / 4, isnan(0.0 / 0.0) != 0);
}

static void longDoubles(void) {
  long double sum = 0, product = 1;
  for (int i = 1; i < 2000; i++) {
    sum += sqrtl((long double)i) / 3 + floorl(i / 7.0L);
    product *= 1 + 1.0L / (i * (long double)i);
  }
  printf("long doubles %.20Lg %.20Lg %La\n", sum, product, sum);
  printf("%.19Lg %.19Lg %Lg\n", LDBL_MAX, LDBL_EPSILON, LDBL_MIN / 8);
  char *end;
  printf("%.21Lg\n", strtold("3.14159265358979323846264338327950288", &end));
}

static sigjmp_buf back;
static volatile uintptr_t where;
static volatile int which;
static void onSignal(int number, siginfo_t *info, void *context) {
  (void)context;
  which = number;
  where = (uintptr_t)info->si_addr;
  siglongjmp(back, 1);
}

static void faults(void) {
  struct sigaction action = {.sa_sigaction = onSignal, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGSEGV, &action, NULL);
  sigaction(SIGFPE, &action, NULL);
  sigaction(SIGILL, &action, NULL);
  char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  mprotect(page + 4096, 4096, PROT_READ);
  volatile int zero = 0;
  if (!sigsetjmp(back, 1)) page[5000] = 1;
  printf("write to a read-only page: signal %d at +%d\n", which, (int)(where - (uintptr_t)page));
  if (!sigsetjmp(back, 1)) memset(page + 4090, 1, 20);
  printf("memset across its border: signal %d\n", which);
  if (!sigsetjmp(back, 1)) zero = 5 / zero;
  printf("division by zero: signal %d\n", which);
  if (!sigsetjmp(back, 1)) __builtin_trap();
  printf("ud2: signal %d\n", which);
  if (!sigsetjmp(back, 1)) *(volatile int *)8 = 1;
  printf("null pointer: signal %d at %d\n", which, (int)where);
}

static atomic_long counter;
static long plain;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *work(void *argument) {
  for (int i = 0; i < 20000; i++) {
    atomic_fetch_add(&counter, (long)(intptr_t)argument);
    pthread_mutex_lock(&lock);
    plain++;
    pthread_mutex_unlock(&lock);
  }
  return NULL;
}

static void threads(void) {
  pthread_t all[4];
  for (intptr_t i = 0; i < 4; i++) pthread_create(&all[i], NULL, work, (void *)(i + 1));
  for (int i = 0; i < 4; i++) pthread_join(all[i], NULL);
  printf("threads %ld %ld\n", atomic_load(&counter), plain);
}

static int byText(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

static void strings(void) {
  char *words[500];
  for (int i = 0; i < 500; i++) {
    words[i] = malloc(24);
    snprintf(words[i], 24, "%05" PRIu64 "-%c", next() % 100000, (int)('a' + next() % 26));
  }
  qsort(words, 500, sizeof *words, byText);
  unsigned hash = 5381;
  for (int i = 0; i < 500; i++)
    for (char *at = words[i]; *at; at++) hash = hash * 33 ^ (unsigned char)*at;
  printf("strings %s %s %x %zu\n", words[0], words[499], hash, strspn("aabbcc", "ab"));
  char far[4096];
  memset(far, 'x', sizeof far);
  far[4095] = 0;
  printf("%zu %d %ld\n", strlen(far), memchr(far, 'y', 4095) == NULL, strtol("-7fz", NULL, 16));
}

/* Code that is written, run, and written again. */
static void ownCode(void) {
#if defined(__x86_64__) || defined(__i386__)
  unsigned char *code =
      mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  long sum = 0;
  for (int i = 0; i < 3000; i++) {
    unsigned char program[] = {0xb8, (unsigned char)i, (unsigned char)(i >> 8), 0, 0, 0xc3};
    memcpy(code + i % 64, program, sizeof program);
    sum += ((int (*)(void))(void *)(code + i % 64))();
  }
  printf("own code %ld\n", sum);
#endif
}

int main(void) {
  integers();
  doubles();
  longDoubles();
  strings();
  faults();
  threads();
  ownCode();
  printf("%zu-byte pointers, %d\n", sizeof(void *), errno);
  return 0;
}
