#include "common/trunk/trunk_socket.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "common/trunk/trunk_tls.h"

namespace trunkline {
namespace {

bool IsLater(int error) { return error == EAGAIN || error == EINTR; }

// The fatal alert protocol_version (RFC 8446, 6). OpenSSL sends none to a peer without TLS; with
// it, a peer of ours can tell its operator why it gets no trunk.
constexpr uint8_t kPlainPeerAlert[] = {0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 0x46};
// Content types of TLS records, and the major version that follows them.
constexpr uint8_t kFirstContentType = 0x14;
constexpr uint8_t kLastContentType = 0x17;
constexpr uint8_t kMajorVersion = 0x03;

constexpr char kOneSided[] = "set trunk_tls on both ends or on neither";

// Returns true for an alert by which a peer refuses a certificate or misses one: bad_certificate
// (42) to unknown_ca (48), except illegal_parameter (47), and certificate_required (116).
bool IsAboutCertificate(int reason) {
  const int alert = reason - SSL_AD_REASON_OFFSET;
  return (alert >= SSL_AD_BAD_CERTIFICATE && alert <= SSL_AD_UNKNOWN_CA &&
          alert != SSL_AD_ILLEGAL_PARAMETER) ||
         alert == SSL_AD_CERTIFICATE_REQUIRED;
}

}  // namespace

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL.
struct TrunkSocket::Bio {
  static TrunkSocket& SocketOf(BIO* bio) { return *static_cast<TrunkSocket*>(BIO_get_data(bio)); }

  static int Read(BIO* bio, char* to, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t n = recv(SocketOf(bio).fd(), to, static_cast<size_t>(size), 0);
    if (n < 0 && IsLater(errno)) BIO_set_retry_read(bio);
    // OpenSSL asks for the end of file by BIO_CTRL_EOF.
    if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
    SocketOf(bio).NoteFirst(to, n);
    return static_cast<int>(n);
  }

  static int Write(BIO* bio, const char* data, int size) {
    BIO_clear_retry_flags(bio);
    const ssize_t n = send(SocketOf(bio).fd(), data, static_cast<size_t>(size), MSG_NOSIGNAL);
    if (n < 0 && IsLater(errno)) BIO_set_retry_write(bio);
    return static_cast<int>(n);
  }

  static long Control(BIO* bio, int command, long, void*) {
    if (command == BIO_CTRL_FLUSH) return 1;
    if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
    return 0;
  }

  static const BIO_METHOD* Method() {
    static const BIO_METHOD* const method = [] {
      BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "trunk socket");
      BIO_meth_set_read(made, Read);
      BIO_meth_set_write(made, Write);
      BIO_meth_set_ctrl(made, Control);
      return made;
    }();
    return method;
  }
};

void TrunkSocket::Free::operator()(ssl_st* session) const { SSL_free(session); }

TrunkSocket::TrunkSocket(UniqueFd fd, const TrunkTls* tls, bool dialed)
    : fd_(std::move(fd)), handshake_complete_(tls == nullptr) {
  if (tls == nullptr) return;
  tls_.reset(tls->NewSession(dialed));
  BIO* const bio = BIO_new(Bio::Method());
  BIO_set_data(bio, this);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls_.get(), bio, bio);
}

TrunkSocket::~TrunkSocket() = default;

void TrunkSocket::NoteFirst(const void* data, ssize_t size) {
  if (size <= 0 || first_size_ == first_.size()) return;
  const size_t more = std::min(first_.size() - first_size_, static_cast<size_t>(size));
  std::memcpy(first_.data() + first_size_, data, more);
  first_size_ += more;
}

bool TrunkSocket::peer_speaks_tls() const {
  return first_size_ > 1 && first_[0] >= kFirstContentType && first_[0] <= kLastContentType &&
         first_[1] == kMajorVersion;
}

std::string_view TrunkSocket::foreign_bytes() const {
  // The length has three bytes, of which a SETTINGS frame needs the last; the type is 4.
  constexpr size_t kTypeAt = 3;
  constexpr uint8_t kSettings = 4;
  const bool settings = first_size_ <= kTypeAt
                            ? (first_[0] | first_[1]) == 0
                            : (first_[0] | first_[1]) == 0 && first_[kTypeAt] == kSettings;
  if (first_size_ == 0 || settings) return {};
  return {reinterpret_cast<const char*>(first_.data()), first_size_};
}

// Returns true if the handshake failed because the peer does not speak TLS.
bool TrunkSocket::RefusePlainPeer() {
  if (first_size_ < 2 || peer_speaks_tls()) return false;
  // A client begins with the preface "PRI", a server with a SETTINGS frame of few bytes.
  const bool http2 = std::memcmp(first_.data(), "PR", 2) == 0 || (first_[0] | first_[1]) == 0;
  tls_error_ = absl::StrCat(http2 ? "the peer speaks plain HTTP/2 and this end expects TLS: "
                                  : "the peer speaks no TLS and this end expects it: ",
                            kOneSided);
  send(fd_.get(), kPlainPeerAlert, sizeof kPlainPeerAlert, MSG_NOSIGNAL);
  return true;
}

TrunkSocket::Step TrunkSocket::Handshake() {
  if (handshake_complete_) return Step::kDone;
  ERR_clear_error();
  const int result = SSL_do_handshake(tls_.get());
  if (result <= 0) {
    const ssize_t classified = Classify(result);
    if (classified < 0 && IsLater(errno)) return Step::kLater;
    if (classified == 0) tls_error_ = "TLS: the peer closed it during the handshake";
    tls_fault_ = RefusePlainPeer() || tls_fault_ || heard();
    return Step::kFailed;
  }
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(tls_.get(), &protocol, &size);
  if (std::string_view(reinterpret_cast<const char*>(protocol), size) != "h2") {
    tls_error_ = "TLS: the peer does not offer h2 by ALPN";
    tls_fault_ = true;
    return Step::kFailed;
  }
  handshake_complete_ = true;
  return Step::kDone;
}

ssize_t TrunkSocket::Read(uint8_t* to, size_t size) {
  if (tls_ == nullptr) {
    const ssize_t n = recv(fd_.get(), to, size, 0);
    NoteFirst(to, n);
    if (peer_speaks_tls()) {
      tls_error_ = absl::StrCat("the peer speaks TLS and this end does not: ", kOneSided);
    }
    return n;
  }
  ERR_clear_error();
  return Classify(SSL_read(tls_.get(), to, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

ssize_t TrunkSocket::Write(const uint8_t* data, size_t size) {
  if (tls_ == nullptr) return send(fd_.get(), data, size, MSG_NOSIGNAL);
  ERR_clear_error();
  return Classify(SSL_write(tls_.get(), data, static_cast<int>(std::min<size_t>(size, INT_MAX))));
}

// Turns a result of OpenSSL into that of a socket call.
ssize_t TrunkSocket::Classify(int result) {
  if (result > 0) return result;
  const int system_error = errno;
  switch (SSL_get_error(tls_.get(), result)) {
    case SSL_ERROR_ZERO_RETURN:
      return 0;
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
      errno = EAGAIN;
      return -1;
    case SSL_ERROR_SYSCALL:
      if (ERR_peek_error() != 0) break;
      tls_error_ = "TLS: the connection ended";
      if (system_error != 0 && !IsLater(system_error)) tls_error_ = ErrorText(system_error);
      errno = EPROTO;
      return -1;
    default:
      break;
  }
  Explain();
  errno = EPROTO;
  return -1;
}

void TrunkSocket::Explain() {
  const unsigned long error = ERR_peek_error();
  const char* const reason = ERR_reason_error_string(error);
  const long verdict = SSL_get_verify_result(tls_.get());
  const bool refused = IsAboutCertificate(ERR_GET_REASON(error));
  tls_fault_ = true;
  tls_error_ =
      absl::StrCat("TLS: ", refused ? "the peer refuses the certificate of this end: " : "",
                   reason != nullptr ? reason : "broken");
  if (verdict != X509_V_OK) {
    absl::StrAppend(&tls_error_, ": ", X509_verify_cert_error_string(verdict));
  }
  ERR_clear_error();
}

void TrunkSocket::ShutdownWrite() {
  if (tls_ != nullptr) {
    ERR_clear_error();
    SSL_shutdown(tls_.get());
  }
  shutdown(fd_.get(), SHUT_WR);
}

std::string TrunkSocket::error() const {
  return tls_error_.empty() ? ErrorText(errno) : tls_error_;
}

}  // namespace trunkline
