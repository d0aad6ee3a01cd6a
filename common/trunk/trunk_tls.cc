#include "common/trunk/trunk_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

// ALPN's wire form: a length, then the name.
constexpr unsigned char kAlpn[] = {2, 'h', '2'};
constexpr size_t kReadBufferBytes = 64 * 1024;

using Context = std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)>;
using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;
using File = std::unique_ptr<FILE, int (*)(FILE*)>;

// OpenSSL's reason for the last failure. Clears the error queue.
std::string Reason() {
  const char* const reason = ERR_reason_error_string(ERR_peek_last_error());
  ERR_clear_error();
  return reason != nullptr ? reason : "unknown reason";
}

// A peer that does not offer h2 gets an alert instead of a trunk.
int ChooseProtocol(SSL*, const unsigned char** chosen, unsigned char* chosen_size,
                   const unsigned char* offered, unsigned int offered_size, void*) {
  unsigned char* found = nullptr;
  const int result =
      SSL_select_next_proto(&found, chosen_size, kAlpn, sizeof kAlpn, offered, offered_size);
  *chosen = found;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

std::string TextOf(const ASN1_TIME* time) {
  std::tm broken_down{};
  if (ASN1_TIME_to_tm(time, &broken_down) != 1) return "an unreadable time";
  return absl::FormatTime("%Y-%m-%d %H:%M UTC", absl::FromTM(broken_down, absl::UTCTimeZone()),
                          absl::UTCTimeZone());
}

class Loader {
 public:
  Loader(const std::string& field, const TlsFiles& files, absl::Time now)
      : field_(field), files_(files), now_(absl::ToTimeT(now)) {}

  absl::StatusOr<Context> Load() {
    ERR_clear_error();
    Context context(SSL_CTX_new(TLS_method()), SSL_CTX_free);
    SetUp(context.get());
    // Checks all three, so that the error names every missing one.
    const bool ca = Given("ca_file", files_.ca);
    const bool cert = Given("cert_file", files_.cert);
    const bool key = Given("key_file", files_.key);
    if (ca && cert && key) {
      UseCa(context.get());
      if (UseCertificate(context.get())) UseKey(context.get());
    }
    if (!errors_.empty()) return absl::InvalidArgumentError(absl::StrJoin(errors_, "\n"));
    return context;
  }

 private:
  static void SetUp(SSL_CTX* context) {
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    // Trunks live for about an hour, so session resumption would gain nothing.
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    // HTTP/2 detects truncation itself.
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    // The output buffer moves and grows between attempts to write.
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    // A read takes several whole records; otherwise each record costs two system calls.
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, kReadBufferBytes);
    SSL_CTX_set_alpn_protos(context, kAlpn, sizeof kAlpn);
    SSL_CTX_set_alpn_select_cb(context, ChooseProtocol, nullptr);
  }

  void Refuse(const char* which, const std::string& path, const std::string& what) {
    errors_.push_back(absl::StrCat(field_, ".", which, ": ", path, ": ", what));
  }

  // Returns false if the file is missing or unreadable: OpenSSL's own message does not name it.
  bool Given(const char* which, const std::string& path) {
    if (path.empty()) {
      errors_.push_back(absl::StrCat(field_, ".", which, ": expected the path of a PEM file"));
      return false;
    }
    const File file(fopen(path.c_str(), "re"), fclose);
    if (file == nullptr) Refuse(which, path, ErrorText(errno));
    return file != nullptr;
  }

  void UseCa(SSL_CTX* context) {
    if (SSL_CTX_load_verify_locations(context, files_.ca.c_str(), nullptr) == 1) {
      // Sent to peers as the issuers that this end accepts.
      SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(files_.ca.c_str()));
      return;
    }
    Refuse("ca_file", files_.ca,
           absl::StrCat("no certificate can be read from it (", Reason(),
                        "); expected the PEM of the CA that signs the trunks' certificates"));
  }

  bool UseCertificate(SSL_CTX* context) {
    const File file(fopen(files_.cert.c_str(), "re"), fclose);
    const Certificate certificate(
        file != nullptr ? PEM_read_X509(file.get(), nullptr, nullptr, nullptr) : nullptr,
        X509_free);
    if (certificate == nullptr ||
        SSL_CTX_use_certificate_chain_file(context, files_.cert.c_str()) != 1) {
      Refuse("cert_file", files_.cert,
             absl::StrCat("no certificate can be read from it (", Reason(),
                          "); expected PEM, this program's own certificate first"));
      return false;
    }
    const ASN1_TIME* const begins = X509_get0_notBefore(certificate.get());
    const ASN1_TIME* const ends = X509_get0_notAfter(certificate.get());
    if (ASN1_TIME_cmp_time_t(ends, now_) < 0) {
      Refuse("cert_file", files_.cert,
             absl::StrCat("expired on ", TextOf(ends), "; issue a new one and restart"));
    }
    if (ASN1_TIME_cmp_time_t(begins, now_) > 0) {
      Refuse("cert_file", files_.cert,
             absl::StrCat("is valid only from ", TextOf(begins), " on; is the clock right?"));
    }
    return true;
  }

  void UseKey(SSL_CTX* context) {
    // A daemon cannot ask for a passphrase; by default OpenSSL would read one from the terminal.
    SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return 0; });
    if (SSL_CTX_use_PrivateKey_file(context, files_.key.c_str(), SSL_FILETYPE_PEM) == 1) return;
    const unsigned long error = ERR_peek_last_error();
    if (ERR_GET_REASON(error) == X509_R_KEY_VALUES_MISMATCH) {
      ERR_clear_error();
      Refuse("key_file", files_.key,
             absl::StrCat("is not the key of the certificate in ", files_.cert));
      return;
    }
    Refuse("key_file", files_.key,
           absl::StrCat("no private key can be read from it (", Reason(),
                        "); expected PEM without a passphrase"));
  }

  const std::string& field_;
  const TlsFiles& files_;
  const time_t now_;
  std::vector<std::string> errors_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<const TrunkTls>> TrunkTls::Load(const std::string& field,
                                                               const TlsFiles& files,
                                                               absl::Time now) {
  absl::StatusOr<Context> context = Loader(field, files, now).Load();
  if (!context.ok()) return context.status();
  return std::shared_ptr<const TrunkTls>(new TrunkTls(context->release()));
}

TrunkTls::~TrunkTls() { SSL_CTX_free(context_); }

ssl_st* TrunkTls::NewSession(bool dialed) const {
  SSL* const session = SSL_new(context_);
  if (dialed) {
    SSL_set_connect_state(session);
  } else {
    SSL_set_accept_state(session);
  }
  return session;
}

}  // namespace trunkline
