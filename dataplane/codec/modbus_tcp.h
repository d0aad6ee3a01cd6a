// Modbus over TCP: meters, inverters and controllers, many of which accept only two to sixteen
// connections, so many clients share few connections.
//
// Every message begins with a header of 7 bytes (MBAP), big endian:
//     0  transaction  2   repeated by the server: the id by which a reply finds its request
//     2  protocol     2   always 0
//     4  length       2   bytes that follow this field: 2 to 254
//     6  unit         1   a device behind a gateway
// and continues with 1 to 253 bytes of function and data, so a message has 8 to 260 bytes. Requests
// and replies have the same framing. Of the content, the codec reads the unit and the function of a
// request: only functions that read are repeatable.
//
// A write to unit 0 is a broadcast on a serial line, which no device answers; a device that speaks
// Modbus TCP itself may answer to unit 0 as to its own. So its reply may come or not. A request
// that gets no reply in time gets exception 0x0B ("gateway target device failed to respond"), as
// from a gateway whose device is silent.
//
// It does not support serial frames (RTU, ASCII) that some gateways carry over TCP, because they
// have no transaction. It has no other local reply: an exception would speak for a device that was
// not asked.
//
// Sources of the numbers: "MODBUS Messaging on TCP/IP Implementation Guide V1.0b", 3.1.3 (the
// header), and "MODBUS Application Protocol Specification V1.1b3", 4.1 (253 bytes of function and
// data, 260 in all) and 7 (exceptions); "MODBUS over Serial Line V1.02", 2.1 (broadcasts).
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
