// TLS for trunks: what both ends prove to each other, read once from three files.
//
// TLS 1.3 and ALPN "h2" only. Each end shows a certificate and takes only those that the CA file
// has signed, for the role that they are used in (clientAuth, serverAuth) where they name roles at
// all. Names in certificates are not compared with addresses: an agent's address comes from the
// controller, and whoever has a certificate of the trunks' CA belongs to the cluster. So that CA is
// for trunks alone.
//
// Thread-safe: immutable. Errors name the setting, the file, what is wrong with it and what to do.
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
  std::string cert;  // PEM, with those between it and the CA behind it
  std::string key;   // PEM, of the first in `cert`, without a passphrase
};

class TrunkTls {
 public:
  // INVALID_ARGUMENT: a line for each file that cannot be used. `field`: how messages call the
  // setting.
  static absl::StatusOr<std::shared_ptr<const TrunkTls>> Load(const std::string& field,
                                                              const TlsFiles& files,
                                                              absl::Time now);
  ~TrunkTls();
  TrunkTls(const TrunkTls&) = delete;
  TrunkTls& operator=(const TrunkTls&) = delete;

  // A connection's state, of the end that dialled or the one that accepted. The caller frees it.
  ssl_st* NewSession(bool dialled) const;

 private:
  explicit TrunkTls(ssl_ctx_st* context) : context_(context) {}

  ssl_ctx_st* const context_;
};

}  // namespace trunkline
