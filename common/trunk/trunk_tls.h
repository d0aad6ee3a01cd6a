// TLS for trunks: the certificates by which both ends authenticate, read once from three files.
//
// TLS 1.3 and ALPN "h2" only. Each end shows a certificate and accepts only certificates that the
// CA file signed, for their role (clientAuth, serverAuth) if they name roles. Names in certificates
// are not compared with addresses: an agent's address comes from the controller, and any holder of
// a certificate of the trunks' CA belongs to the cluster. That CA must therefore serve trunks
// alone.
//
// Immutable; thread-safe. Errors name the setting, the file, the fault and the remedy.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

// OpenSSL's; its headers stay in the .cc files.
struct ssl_ctx_st;
struct ssl_st;

namespace trunkline {

struct TlsFiles {
  std::string ca;    // PEM, one or more
  std::string cert;  // PEM, followed by any intermediate certificates
  std::string key;   // PEM without a passphrase, for the first certificate in `cert`
};

class TrunkTls {
 public:
  // INVALID_ARGUMENT: one line for each unusable file. Messages call the setting `field`.
  static absl::StatusOr<std::shared_ptr<const TrunkTls>> Load(const std::string& field,
                                                              const TlsFiles& files,
                                                              absl::Time now);
  ~TrunkTls();
  TrunkTls(const TrunkTls&) = delete;
  TrunkTls& operator=(const TrunkTls&) = delete;

  // The state of a connection that was dialed or accepted. The caller frees it.
  ssl_st* NewSession(bool dialed) const;

 private:
  explicit TrunkTls(ssl_ctx_st* context) : context_(context) {}

  ssl_ctx_st* const context_;
};

}  // namespace trunkline
