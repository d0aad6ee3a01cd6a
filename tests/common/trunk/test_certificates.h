// Generated certificates: a CA and certificates that it signs, as PEM files in a scratch folder.
#pragma once

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "common/trunk/trunk_tls.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline::test {

class TestCa {
 public:
  using Key = std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)>;
  using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

  struct Wishes {
    absl::Duration begins = -absl::Hours(1);
    absl::Duration ends = absl::Hours(1);
    const char* usage = "clientAuth,serverAuth";
  };

  TestCa(const ScratchFolder& folder, std::string name)
      : folder_(folder), name_(std::move(name)), key_(NewKey()), certificate_(nullptr, X509_free) {
    certificate_ = Make(*key_, Wishes(), /*is_ca=*/true);
    WritePem(CaFile(), *certificate_);
  }

  std::string CaFile() const { return folder_.File(name_ + "-ca.pem"); }
  // Files of a certificate that this CA has signed.
  TlsFiles Issue(const std::string& who) const { return Issue(who, Wishes()); }
  TlsFiles Issue(const std::string& who, const Wishes& wishes) const {
    const Key key = NewKey();
    const Certificate certificate = Make(*key, wishes, /*is_ca=*/false);
    TlsFiles files = {.ca = CaFile(),
                      .cert = folder_.File(name_ + "-" + who + ".pem"),
                      .key = folder_.File(name_ + "-" + who + ".key")};
    WritePem(files.cert, *certificate);
    const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(files.key.c_str(), "w"), fclose);
    EXPECT_EQ(PEM_write_PrivateKey(file.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr),
              1);
    return files;
  }

 private:
  static Key NewKey() { return Key(EVP_EC_gen("P-256"), EVP_PKEY_free); }

  Certificate Make(EVP_PKEY& key, const Wishes& wishes, bool is_ca) const {
    Certificate made(X509_new(), X509_free);
    X509_set_version(made.get(), 2);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), is_ca ? 1 : 2);
    X509_time_adj_ex(X509_getm_notBefore(made.get()), 0, absl::ToInt64Seconds(wishes.begins),
                     nullptr);
    X509_time_adj_ex(X509_getm_notAfter(made.get()), 0, absl::ToInt64Seconds(wishes.ends), nullptr);
    X509_set_pubkey(made.get(), &key);
    const std::string name = is_ca ? name_ : name_ + " signed";
    SetName(X509_get_subject_name(made.get()), name);
    SetName(X509_get_issuer_name(made.get()), name_);
    Extend(*made, NID_basic_constraints, is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (!is_ca) Extend(*made, NID_ext_key_usage, wishes.usage);
    EXPECT_GT(X509_sign(made.get(), key_.get(), EVP_sha256()), 0);
    return made;
  }
  static void SetName(X509_NAME* name, const std::string& text) {
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(text.c_str()), -1, -1, 0);
  }
  static void Extend(X509& certificate, int what, const char* value) {
    X509_EXTENSION* const extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value);
    ASSERT_NE(extension, nullptr);
    X509_add_ext(&certificate, extension, -1);
    X509_EXTENSION_free(extension);
  }
  static void WritePem(const std::string& path, X509& certificate) {
    const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(path.c_str(), "w"), fclose);
    EXPECT_EQ(PEM_write_X509(file.get(), &certificate), 1);
  }

  const ScratchFolder& folder_;
  const std::string name_;
  const Key key_;
  Certificate certificate_;
};

inline std::shared_ptr<const TrunkTls> LoadTls(const TlsFiles& files,
                                               absl::Time now = absl::Now()) {
  auto loaded = TrunkTls::Load("trunk_tls", files, now);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return loaded.ok() ? *loaded : nullptr;
}

}  // namespace trunkline::test
