// Modbus over TCP: meters, inverters and controllers, many of which take two to sixteen connections
// and no more. So many clients share few.
//
// Every message begins with a header of 7 bytes (MBAP), big endian:
//     0  transaction  2   the server repeats it: the id by which replies find their requests
//     2  protocol     2   always 0
//     4  length       2   bytes that follow this field: 2 to 254
//     6  unit         1   a device behind a gateway
// and goes on with 1 to 253 bytes of function and data,
// so a message has 8 to 260 bytes. Requests and replies have the same framing. What stands behind
// the header (functions, exceptions) is between client and device.
//
// Not for serial frames (RTU, ASCII) that some gateways carry over TCP: they have no transaction. A
// client that is refused gets no words: an exception reply would speak for a device that was not
// asked.
//
// Numbers: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1.3 (the header), and "MODBUS
// Application Protocol Specification V1.1b3", 4.1 (253 bytes of function and data, 260 in all).
//
// Codec: immutable, thread-safe; its parsers need not be destroyed before it.
#pragma once

#include <cstddef>
#include <memory>

#include "dataplane/codec/codec.h"

namespace trunkline {

constexpr size_t kMaxModbusTcpMessageBytes = 260;

std::unique_ptr<Codec> NewModbusTcpCodec();

}  // namespace trunkline
