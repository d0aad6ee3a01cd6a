// The bytes of a trunk: a TCP connection, plain or in TLS, read and written without blocking.
//
// Keeps TLS's wants away from whoever reads and writes: one Handshake before all else, then Read
// and Write that say "later" like a socket. A TLS record is at most 16 KiB, so a read that gives
// less than was asked for does not mean that nothing is left, nor a write that the kernel is full;
// see short_is_all().
//
// Confined to its event loop. Owns the descriptor.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "common/base/unique_fd.h"
#include "common/trunk/trunk_tls.h"

namespace trunkline {

class TrunkSocket {
 public:
  enum class Step { kDone, kLater, kFailed };

  // `tls` null: plain. It outlives the socket.
  TrunkSocket(UniqueFd fd, const TrunkTls* tls, bool dialled);
  ~TrunkSocket();

  int fd() const { return fd_.get(); }
  // Called at each event until it is kDone; at once where the socket is plain. kFailed: error().
  Step Handshake();
  bool shaken() const { return handshake_complete_; }

  // As recv and send: -1 with EAGAIN for later, with EPROTO for what error() has.
  ssize_t Read(uint8_t* to, size_t size);
  ssize_t Write(const uint8_t* data, size_t size);
  // A read that is not full emptied the socket, and a write that is not whole filled it.
  bool short_is_all() const { return tls_ == nullptr; }
  // Nothing more is written; the peer's end of file.
  void ShutdownWrite();
  bool is_tls() const { return tls_ != nullptr; }
  void Close() { fd_.Reset(); }

  // What a Read, Write or Handshake failed with.
  std::string error() const;

 private:
  struct Free {
    void operator()(ssl_st* session) const;
  };

  ssize_t Classify(int result);
  void Explain();

  UniqueFd fd_;
  std::unique_ptr<ssl_st, Free> tls_;
  bool handshake_complete_ = false;
  std::string tls_error_;
};

}  // namespace trunkline
