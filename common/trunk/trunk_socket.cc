#include "common/trunk/trunk_socket.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

bool IsLater(int error) { return error == EAGAIN || error == EINTR; }

// OpenSSL's own socket BIO writes without MSG_NOSIGNAL.
int BioFd(BIO* bio) { return static_cast<const UniqueFd*>(BIO_get_data(bio))->get(); }

int BioRead(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = recv(BioFd(bio), to, static_cast<size_t>(size), 0);
  if (n < 0 && IsLater(errno)) BIO_set_retry_read(bio);
  // OpenSSL asks for the end of file by BIO_CTRL_EOF.
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

int BioWrite(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = send(BioFd(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && IsLater(errno)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

long BioControl(BIO* bio, int command, long, void*) {
  if (command == BIO_CTRL_FLUSH) return 1;
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return 0;
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "trunk socket");
    BIO_meth_set_read(made, BioRead);
    BIO_meth_set_write(made, BioWrite);
    BIO_meth_set_ctrl(made, BioControl);
    return made;
  }();
  return method;
}

}  // namespace

void TrunkSocket::Free::operator()(ssl_st* session) const { SSL_free(session); }

TrunkSocket::TrunkSocket(UniqueFd fd, const TrunkTls* tls, bool dialed)
    : fd_(std::move(fd)), handshake_complete_(tls == nullptr) {
  if (tls == nullptr) return;
  tls_.reset(tls->NewSession(dialed));
  BIO* const bio = BIO_new(SocketMethod());
  BIO_set_data(bio, &fd_);
  BIO_set_init(bio, 1);
  SSL_set_bio(tls_.get(), bio, bio);
}

TrunkSocket::~TrunkSocket() = default;

TrunkSocket::Step TrunkSocket::Handshake() {
  if (handshake_complete_) return Step::kDone;
  ERR_clear_error();
  const int result = SSL_do_handshake(tls_.get());
  if (result <= 0) {
    const ssize_t classified = Classify(result);
    if (classified == 0) tls_error_ = "TLS: the peer closed it during the handshake";
    return classified < 0 && IsLater(errno) ? Step::kLater : Step::kFailed;
  }
  const unsigned char* protocol = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(tls_.get(), &protocol, &size);
  if (std::string_view(reinterpret_cast<const char*>(protocol), size) != "h2") {
    tls_error_ = "TLS: the peer does not offer h2 by ALPN";
    return Step::kFailed;
  }
  handshake_complete_ = true;
  return Step::kDone;
}

ssize_t TrunkSocket::Read(uint8_t* to, size_t size) {
  if (tls_ == nullptr) return recv(fd_.get(), to, size, 0);
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
  const char* const reason = ERR_reason_error_string(ERR_peek_error());
  const long verdict = SSL_get_verify_result(tls_.get());
  tls_error_ = absl::StrCat("TLS: ", reason != nullptr ? reason : "broken");
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
