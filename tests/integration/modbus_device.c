// A Modbus device that bears few connections, as many have it: what comes beyond is closed at once.
// Linked with libmodbus, so what it says on the wire is not Trunkline's idea of the protocol.
//
//   modbus_device CONNECTIONS
//
// Registers 0 to 9999 are kept. Two of them misbehave when they are read: 9000 is never answered,
// and 9001 is answered only after three other requests were. Beyond 9999 it answers with an
// exception. Single-threaded; ends with the process.
#include <arpa/inet.h>
#include <errno.h>
#include <modbus.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  kRegisters = 10000,
  kMuteRegister = 9000,
  kLateRegister = 9001,
  kAnswersBeforeLate = 3,
  kMaxConnections = 64,
};

struct Late {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  int size;  // 0: none
  int fd;
  int answers_left;
};

struct Device {
  modbus_t* modbus;
  modbus_mapping_t* registers;
  struct pollfd polled[kMaxConnections + 1];  // the listener first
  int count;
  int limit;
  struct Late late;
};

static int Fail(const char* what) {
  fprintf(stderr, "modbus_device: %s: %s\n", what, modbus_strerror(errno));
  return 1;
}

static int Listen(void) {
  struct sockaddr_in address = {.sin_family = AF_INET};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  socklen_t size = sizeof(address);
  if (fd < 0 || bind(fd, (struct sockaddr*)&address, size) != 0 || listen(fd, 64) != 0 ||
      getsockname(fd, (struct sockaddr*)&address, &size) != 0) {
    return -1;
  }
  printf("listening on 127.0.0.1:%d\n", ntohs(address.sin_port));
  return fd;
}

static void Accept(struct Device* device) {
  const int fd = accept(device->polled[0].fd, NULL, NULL);
  if (fd < 0) return;
  if (device->count > device->limit) {
    printf("connection refused: %d are open\n", device->limit);
    close(fd);
    return;
  }
  device->polled[device->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
  printf("connection taken\n");
}

static void Answer(struct Device* device, int fd, const uint8_t* query, int size) {
  modbus_set_socket(device->modbus, fd);
  modbus_reply(device->modbus, query, size, device->registers);
}

static void CountForLate(struct Device* device) {
  struct Late* late = &device->late;
  if (late->size == 0 || --late->answers_left > 0) return;
  Answer(device, late->fd, late->query, late->size);
  late->size = 0;
}

// False: the connection ended.
static int Serve(struct Device* device, int fd) {
  uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
  modbus_set_socket(device->modbus, fd);
  const int size = modbus_receive(device->modbus, query);
  if (size < 0) return 0;
  const int function_at = modbus_get_header_length(device->modbus);
  const int address = query[function_at + 1] << 8 | query[function_at + 2];
  const int reads = query[function_at] == MODBUS_FC_READ_HOLDING_REGISTERS;
  if (reads && address == kMuteRegister) {
    printf("left unanswered\n");
    return 1;
  }
  if (reads && address == kLateRegister) {
    device->late = (struct Late){.size = size, .fd = fd, .answers_left = kAnswersBeforeLate};
    memcpy(device->late.query, query, (size_t)size);
    printf("will answer late\n");
    return 1;
  }
  Answer(device, fd, query, size);
  CountForLate(device);
  return 1;
}

static void Drop(struct Device* device, int index) {
  const int fd = device->polled[index].fd;
  if (device->late.fd == fd) device->late.size = 0;
  close(fd);
  device->polled[index] = device->polled[--device->count];
  printf("connection ended\n");
}

int main(int argc, char** argv) {
  struct Device device = {.limit = argc > 1 ? atoi(argv[1]) : 0};
  if (device.limit < 1 || device.limit > kMaxConnections) {
    fprintf(stderr, "usage: modbus_device CONNECTIONS (1 to %d)\n", kMaxConnections);
    return 2;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  device.modbus = modbus_new_tcp("127.0.0.1", 0);
  device.registers = modbus_mapping_new(0, 0, kRegisters, 0);
  if (device.modbus == NULL || device.registers == NULL) return Fail("libmodbus");
  device.registers->tab_registers[kLateRegister] = kLateRegister;
  const int listener = Listen();
  if (listener < 0) return Fail("listen");
  device.polled[0] = (struct pollfd){.fd = listener, .events = POLLIN};
  device.count = 1;
  for (;;) {
    if (poll(device.polled, (nfds_t)device.count, -1) < 0) return Fail("poll");
    if (device.polled[0].revents != 0) Accept(&device);
    for (int i = device.count - 1; i > 0; --i) {
      if (device.polled[i].revents == 0) continue;
      if (!Serve(&device, device.polled[i].fd)) Drop(&device, i);
    }
  }
}
