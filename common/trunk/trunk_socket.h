// The byte stream of a trunk: a TCP connection, plain or in TLS, read and written without blocking.
//
// Hides TLS's own needs to read and write. After Handshake is complete, Read and Write fail with
// EAGAIN like a socket's. A TLS record holds at most 16 KiB, so a short read does not mean that the
// socket is empty, nor a short write that the kernel is full; see short_is_all().
//
// Confined to its event loop. Owns the descriptor.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/unique_fd.h"
#include "common/trunk/trunk_tls.h"

namespace trunkline {

class TrunkSocket {
 public:
  enum class Step { kDone, kLater, kFailed };

  // `tls` outlives the socket. Null selects plain TCP.
  TrunkSocket(UniqueFd fd, const TrunkTls* tls, bool dialed);
  ~TrunkSocket();

  int fd() const { return fd_.get(); }
  // Call at each event until it returns kDone; a plain socket does at once. After kFailed, error()
  // has the reason.
  Step Handshake();
  bool handshake_complete() const { return handshake_complete_; }

  // As recv and send: -1 with EAGAIN if the call would block, with EPROTO for a TLS error.
  ssize_t Read(uint8_t* to, size_t size);
  ssize_t Write(const uint8_t* data, size_t size);
  // A short read emptied the socket, and a short write filled it.
  bool short_is_all() const { return tls_ == nullptr; }
  // Sends the end of file; nothing may be written after it.
  void ShutdownWrite();
  bool is_tls() const { return tls_ != nullptr; }
  void Close() { fd_.Reset(); }

  // The reason for which the last Read, Write or Handshake failed.
  std::string error() const;
  // The failure is one of TLS, such as a certificate that is refused or a peer without TLS, not of
  // the network.
  bool tls_fault() const { return tls_fault_; }
  // The peer has sent something.
  bool heard() const { return first_size_ > 0; }
  // The peer's first bytes are those of TLS. A plain socket's peer must not send these.
  bool peer_speaks_tls() const;
  // The peer's first bytes, up to 24, if they cannot be the SETTINGS frame with which a server of
  // HTTP/2 begins; empty otherwise. Only for a plain socket.
  std::string_view foreign_bytes() const;

 private:
  struct Free {
    void operator()(ssl_st* session) const;
  };

  struct Bio;

  void NoteFirst(const void* data, ssize_t size);
  bool RefusePlainPeer();
  ssize_t Classify(int result);
  void Explain();

  UniqueFd fd_;
  std::array<uint8_t, 24> first_{};  // the first bytes that arrived
  size_t first_size_ = 0;
  std::unique_ptr<ssl_st, Free> tls_;
  bool handshake_complete_ = false;
  std::string tls_error_;
  bool tls_fault_ = false;
};

}  // namespace trunkline
