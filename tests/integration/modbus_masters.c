// Modbus masters, linked with libmodbus: each on a connection of its own, each with registers of
// its own, and all with the same transaction ids, for libmodbus counts them from 1 on every
// connection.
//
//   modbus_masters PORT MASTERS ROUNDS    rounds of writing, reading back and asking for what is
//   none modbus_masters PORT read ADDRESS      one register: "value V after S s" or "error TEXT
//   after S s"
//
// Exit code 0: every answer was the right one (for `read`: there was one).
#include <errno.h>
#include <modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  kMaxMasters = 256,
  kRegistersOfOne = 16,
  kNoRegister = 20000,  // the device answers with an exception
  kPatienceSeconds = 30,
};

struct Master {
  pthread_t thread;
  int port;
  int number;
  int rounds;
  int good;
  int wrong;   // another master's reply, or no valid one
  int failed;  // an error where there should be none
};

static modbus_t* Connect(int port) {
  modbus_t* modbus = modbus_new_tcp("127.0.0.1", port);
  if (modbus == NULL) return NULL;
  modbus_set_response_timeout(modbus, kPatienceSeconds, 0);
  modbus_set_byte_timeout(modbus, kPatienceSeconds, 0);
  if (modbus_connect(modbus) == 0) return modbus;
  modbus_free(modbus);
  return NULL;
}

static void Disconnect(modbus_t* modbus) {
  modbus_close(modbus);
  modbus_free(modbus);
}

static void Report(struct Master* master, int* count, const char* what) {
  ++*count;
  printf("master %d: %s: %s\n", master->number, what, modbus_strerror(errno));
}

// Different in every master and round.
static uint16_t ValueOf(const struct Master* master, int round, int i) {
  return (uint16_t)(master->number * 251 + round * 17 + i);
}

// False: no use in going on.
static int Round(struct Master* master, modbus_t* modbus, int round) {
  uint16_t written[kRegistersOfOne];
  uint16_t read[kRegistersOfOne] = {0};
  const int first = master->number * kRegistersOfOne;
  // Lengths differ, so that bytes of a wrong answer do not even fit.
  const int count = 1 + (master->number + round) % kRegistersOfOne;
  for (int i = 0; i < count; ++i) written[i] = ValueOf(master, round, i);
  if (modbus_write_registers(modbus, first, count, written) != count) {
    Report(master, &master->failed, "write");
    return 0;
  }
  if (modbus_read_registers(modbus, first, count, read) != count) {
    Report(master, &master->failed, "read");
    return 0;
  }
  if (memcmp(written, read, (size_t)count * sizeof(uint16_t)) != 0) {
    Report(master, &master->wrong, "what was read is not what was written");
    return 0;
  }
  if (modbus_read_registers(modbus, kNoRegister, 1, read) != -1 || errno != EMBXILADD) {
    Report(master, &master->wrong, "no exception for a register that there is not");
    return 0;
  }
  ++master->good;
  return 1;
}

static void* Run(void* argument) {
  struct Master* master = argument;
  modbus_t* modbus = Connect(master->port);
  if (modbus == NULL) {
    Report(master, &master->failed, "connect");
    return NULL;
  }
  for (int round = 0; round < master->rounds && Round(master, modbus, round); ++round) {
  }
  Disconnect(modbus);
  return NULL;
}

static int RunAll(int port, int count, int rounds) {
  static struct Master masters[kMaxMasters];
  int good = 0;
  int wrong = 0;
  int failed = 0;
  for (int i = 0; i < count; ++i) {
    masters[i] = (struct Master){.port = port, .number = i, .rounds = rounds};
    if (pthread_create(&masters[i].thread, NULL, Run, &masters[i]) != 0) return 1;
  }
  for (int i = 0; i < count; ++i) {
    pthread_join(masters[i].thread, NULL);
    good += masters[i].good;
    wrong += masters[i].wrong;
    failed += masters[i].failed;
  }
  printf("%d good, %d wrong, %d failed\n", good, wrong, failed);
  return wrong + failed == 0 ? 0 : 1;
}

static double Seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int ReadOne(int port, int address) {
  const double start = Seconds();
  modbus_t* modbus = Connect(port);
  if (modbus == NULL) return 1;
  uint16_t value = 0;
  const int got = modbus_read_registers(modbus, address, 1, &value);
  if (got == 1) {
    printf("value %d after %.3f s\n", value, Seconds() - start);
  } else {
    printf("error %s after %.3f s\n", modbus_strerror(errno), Seconds() - start);
  }
  Disconnect(modbus);
  return got == 1 ? 0 : 1;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: modbus_masters PORT MASTERS ROUNDS | PORT read ADDRESS\n");
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  const int port = atoi(argv[1]);
  if (strcmp(argv[2], "read") == 0) return ReadOne(port, atoi(argv[3]));
  const int count = atoi(argv[2]);
  return RunAll(port, count < kMaxMasters ? count : kMaxMasters, atoi(argv[3]));
}
