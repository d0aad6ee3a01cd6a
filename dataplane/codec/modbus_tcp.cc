#include "dataplane/codec/modbus_tcp.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/symmetric_parsers.h"

namespace trunkline {
namespace {

constexpr IdField kTransaction = {.offset = 0, .size = 2};
constexpr size_t kProtocolOffset = 2;
constexpr size_t kLengthOffset = 4;
// Bytes up to the end of the length field, whose value counts the bytes behind it.
constexpr size_t kCountedFrom = 6;
// At least the unit and a function code.
constexpr size_t kMinLength = 2;
constexpr size_t kUnitOffset = 6;
constexpr size_t kFunctionOffset = 7;
constexpr uint8_t kBroadcast = 0;
// The exception reply has this bit and code.
constexpr uint8_t kExceptionBit = 0x80;
constexpr uint8_t kTargetFailedToRespond = 0x0b;
// Request::reply_hint is the unit and the function.
constexpr unsigned kUnitShift = 8;
constexpr size_t kMaxLength = kMaxModbusTcpMessageBytes - kCountedFrom;
static_assert(kMaxLength < 256, "the length's first byte is 0");

// Functions that only read. A write is not repeatable: it may start something (a pulse, a step),
// and a device may have taken another value meanwhile.
bool OnlyReads(uint8_t function) {
  switch (function) {
    case 1:   // coils
    case 2:   // discrete inputs
    case 3:   // holding registers
    case 4:   // input registers
    case 7:   // exception status
    case 11:  // event counter
    case 12:  // event log
    case 17:  // server id
    case 20:  // file record
    case 24:  // FIFO queue
    case 43:  // device identification
      return true;
    default:
      return false;
  }
}

class ModbusTcpFramer {
 public:
  ParseStep Parse(std::span<const uint8_t> bytes) {
    size_t used = 0;
    while (seen_ < kCountedFrom) {
      if (used == bytes.size()) return {used, ParseState::kMore};
      if (!TakeHeaderByte(bytes[used])) return {used, ParseState::kBroken};
      ++used;
    }
    const size_t rest = std::min(bytes.size() - used, total_ - seen_);
    const auto take = [&](size_t offset, uint8_t& to) {
      if (seen_ <= offset && offset < seen_ + rest) to = bytes[used + offset - seen_];
    };
    take(kUnitOffset, unit_);
    take(kFunctionOffset, function_);
    seen_ += rest;
    used += rest;
    if (seen_ < total_) return {used, ParseState::kMore};
    seen_ = 0;
    return {used, ParseState::kEnd};
  }

  std::string_view fault() const {
    return seen_ <= kLengthOffset ? "its protocol id is not 0, so it is no Modbus TCP"
                                  : "its length is not 2 to 254";
  }
  // Of the message that has just ended.
  uint8_t unit() const { return unit_; }
  uint8_t function() const { return function_; }

 private:
  // Returns false if the bytes are no Modbus.
  bool TakeHeaderByte(uint8_t byte) {
    const size_t at = seen_++;
    if (at < kProtocolOffset) return true;
    if (at <= kLengthOffset) return byte == 0;
    total_ = kCountedFrom + byte;
    return byte >= kMinLength && byte <= kMaxLength;
  }

  size_t seen_ = 0;   // bytes of the message so far
  size_t total_ = 0;  // bytes of the message; 0 before its length is known
  uint8_t unit_ = 0;
  uint8_t function_ = 0;
};

class ModbusTcpRequestParser final : public RequestParser {
 public:
  ParseStep Parse(std::span<const uint8_t> bytes) override { return framer_.Parse(bytes); }
  Request request() const override {
    const bool reads = OnlyReads(framer_.function());
    return {.repeatable = reads,
            .replies = framer_.unit() == kBroadcast && !reads ? Replies::kMaybe : Replies::kOne,
            .reply_hint = uint32_t{framer_.unit()} << kUnitShift | framer_.function()};
  }
  std::string_view fault() const override { return framer_.fault(); }

 private:
  ModbusTcpFramer framer_;
};

class ModbusTcpCodec final : public Codec {
 public:
  std::string_view name() const override { return "modbus_tcp"; }
  bool always_shares() const override { return true; }
  std::unique_ptr<RequestParser> NewRequestParser() const override {
    return std::make_unique<ModbusTcpRequestParser>();
  }
  std::unique_ptr<ReplyParser> NewReplyParser() const override {
    return std::make_unique<SymmetricReplyParser<ModbusTcpFramer>>(ModbusTcpFramer());
  }
  std::optional<IdField> id_field() const override { return kTransaction; }
  std::string Describe(uint32_t reply_hint) const override {
    return absl::StrCat("function ", reply_hint & 0xff, " of unit ", reply_hint >> kUnitShift);
  }
  std::string LateReply(uint32_t reply_hint) const override {
    const auto byte = [](uint32_t value) { return static_cast<char>(value & 0xff); };
    return {0,
            0,
            0,
            0,
            0,
            3,
            byte(reply_hint >> kUnitShift),
            byte(reply_hint | kExceptionBit),
            kTargetFailedToRespond};
  }
};

}  // namespace

std::unique_ptr<Codec> NewModbusTcpCodec() { return std::make_unique<ModbusTcpCodec>(); }

}  // namespace trunkline
