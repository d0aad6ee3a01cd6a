// Preloaded into a program, this moves the wall clock that the program sees, as an operator or NTP would step it.
//
// TRUNKLINE_CLOCK_OFFSET names a file with the offset in nanoseconds as an int64_t, which may change at any time. Reads
// of the clock add it. The kernel ends an absolute wait when the true clock reaches its time; here such a wait ends when
// the moved clock reaches it, even if the clock moves meanwhile. Programs that link abseil dynamically wait by
// syscall(SYS_futex, ...).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const int64_t kNanosPerSecond = 1000000000;
// How soon a wait notices that the clock moved.
static const int64_t kSliceNanos = 20000000;
static const int64_t kZero = 0;

static const volatile int64_t* offset = &kZero;
static int (*real_clock_gettime)(clockid_t, struct timespec*);
static long (*real_syscall)(long, ...);

__attribute__((constructor)) static void Start(void) {
  real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
  real_syscall = dlsym(RTLD_NEXT, "syscall");
  const char* path = getenv("TRUNKLINE_CLOCK_OFFSET");
  const int fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) abort();
  offset = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
  if (offset == MAP_FAILED) abort();
  close(fd);
}

static int64_t Nanos(const struct timespec* time) { return time->tv_sec * kNanosPerSecond + time->tv_nsec; }

static struct timespec Timespec(int64_t nanos) {
  return (struct timespec){.tv_sec = nanos / kNanosPerSecond, .tv_nsec = nanos % kNanosPerSecond};
}

static int64_t TrueNanos(void) {
  struct timespec now;
  real_syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
  return Nanos(&now);
}

int clock_gettime(clockid_t clock, struct timespec* time) {
  if (real_clock_gettime == NULL) return (int)syscall(SYS_clock_gettime, clock, time);
  const int code = real_clock_gettime(clock, time);
  if (code == 0 && clock == CLOCK_REALTIME) *time = Timespec(Nanos(time) + *offset);
  return code;
}

int gettimeofday(struct timeval* restrict time, void* restrict zone) {
  (void)zone;
  const int64_t nanos = TrueNanos() + *offset;
  time->tv_sec = nanos / kNanosPerSecond;
  time->tv_usec = nanos % kNanosPerSecond / 1000;
  return 0;
}

time_t time(time_t* result) {
  const time_t seconds = (TrueNanos() + *offset) / kNanosPerSecond;
  if (result != NULL) *result = seconds;
  return seconds;
}

long syscall(long number, ...) {
  va_list list;
  va_start(list, number);
  long a[6];
  for (int i = 0; i < 6; ++i) a[i] = va_arg(list, long);
  va_end(list);
  if (real_syscall == NULL) real_syscall = dlsym(RTLD_NEXT, "syscall");
  const struct timespec* until = (const struct timespec*)a[3];
  const int waits_by_wall_clock =
      number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && (a[1] & FUTEX_CLOCK_REALTIME) != 0 &&
      until != NULL;
  if (!waits_by_wall_clock) return real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
  for (;;) {
    const int64_t now = TrueNanos();
    const int64_t end = Nanos(until) - *offset;
    const int64_t next = end < now + kSliceNanos ? end : now + kSliceNanos;
    const struct timespec slice = Timespec(next < 0 ? 0 : next);
    const long code = real_syscall(number, a[0], a[1], a[2], (long)&slice, a[4], a[5]);
    if (code == 0 || errno != ETIMEDOUT || TrueNanos() + *offset >= Nanos(until)) return code;
  }
}
