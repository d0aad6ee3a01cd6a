// Trunks over TLS: the peers that each end accepts, and unchanged behaviour otherwise.
#include "common/trunk/trunk_tls.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/random.h"
#include "common/net/socket.h"
#include "tests/common/base/random_bytes.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/http2/http2_pair.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/common/trunk/test_certificates.h"
#include "tests/common/trunk/trunk_sides.h"

namespace trunkline {
namespace {

using test::Ending;
using test::LoadTls;
using test::Peer;
using test::RandomBytes;
using test::ScratchFolder;
using test::TcpPair;
using test::TestCa;
using test::TestStream;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class TlsFilesTest : public ::testing::Test {
 protected:
  std::string ErrorOf(const TlsFiles& files, absl::Time now = absl::Now()) {
    const auto loaded = TrunkTls::Load("trunk_tls", files, now);
    EXPECT_FALSE(loaded.ok());
    return std::string(loaded.status().message());
  }

  ScratchFolder folder_;
  TestCa ca_{folder_, "ours"};
  TlsFiles good_ = ca_.Issue("proxy");
};

TEST_F(TlsFilesTest, ValidFilesAreAccepted) { EXPECT_NE(LoadTls(good_), nullptr); }

TEST_F(TlsFilesTest, AllMissingFilesAreNamed) {
  const std::string error =
      ErrorOf({.ca = folder_.File("no-ca"), .cert = folder_.File("no-cert"), .key = ""});
  EXPECT_THAT(error, HasSubstr("trunk_tls.ca_file: " + folder_.File("no-ca") + ": No such file"));
  EXPECT_THAT(error,
              HasSubstr("trunk_tls.cert_file: " + folder_.File("no-cert") + ": No such file"));
  EXPECT_THAT(error, HasSubstr("trunk_tls.key_file: expected the path of a PEM file"));
}

TEST_F(TlsFilesTest, FilesWithoutPemAreNamedWithTheExpectedContent) {
  const std::string junk = folder_.Write("junk", "not a certificate\n");
  TlsFiles files = good_;
  files.ca = junk;
  EXPECT_THAT(ErrorOf(files), HasSubstr("trunk_tls.ca_file: " + junk + ": no certificate"));
  files = good_;
  files.cert = junk;
  EXPECT_THAT(ErrorOf(files), HasSubstr("trunk_tls.cert_file: " + junk + ": no certificate"));
  files = good_;
  files.key = junk;
  EXPECT_THAT(ErrorOf(files), HasSubstr("trunk_tls.key_file: " + junk + ": no private key"));
}

TEST_F(TlsFilesTest, KeyOfAnotherCertificateIsRefused) {
  TlsFiles files = good_;
  files.key = ca_.Issue("agent").key;
  EXPECT_THAT(ErrorOf(files),
              HasSubstr(files.key + ": is not the key of the certificate in " + files.cert));
}

TEST_F(TlsFilesTest, ExpiredCertificateIsRefusedWithItsDate) {
  EXPECT_THAT(ErrorOf(good_, absl::Now() + absl::Hours(2)),
              HasSubstr("trunk_tls.cert_file: " + good_.cert + ": expired on 20"));
}

TEST_F(TlsFilesTest, CertificateThatIsNotYetValidIsRefused) {
  EXPECT_THAT(ErrorOf(good_, absl::Now() - absl::Hours(2)), HasSubstr("is valid only from"));
}

TEST_F(TlsFilesTest, KeyWithAPassphraseIsRefusedWithoutAPrompt) {
  const TestCa::Key key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  TlsFiles files = good_;
  files.key = folder_.File("locked.key");
  char passphrase[] = "secret";
  FILE* const file = fopen(files.key.c_str(), "w");
  ASSERT_EQ(PEM_write_PKCS8PrivateKey(file, key.get(), EVP_aes_128_cbc(), passphrase, 6, nullptr,
                                      nullptr),
            1);
  fclose(file);
  EXPECT_THAT(ErrorOf(files), HasSubstr("expected PEM without a passphrase"));
}

class TrunkTlsTest : public test::TrunkSidesTest {
 protected:
  static constexpr absl::Duration kPatience = absl::Milliseconds(test::kPatienceMillis);

  void RunOnce() override {
    Relay();
    loop_.RunOnce(absl::Milliseconds(relaying_ ? 1 : 20));
  }
  // Null selects plain TCP.
  void Start(std::shared_ptr<const TrunkTls> client, std::shared_ptr<const TrunkTls> server) {
    client_.tls = std::move(client);
    server_.tls = std::move(server);
    Join({.up_timeout = kPatience}, {.up_timeout = kPatience});
  }
  // As Join, but the test relays the bytes in pieces of any size.
  void StartRelayed() {
    client_.tls = server_.tls = LoadTls(ours_.Issue("both"));
    auto [near, near_peer] = TcpPair();
    auto [far, far_peer] = TcpPair();
    near_wire_ = std::move(near_peer);
    far_wire_ = std::move(far_peer);
    relaying_ = true;
    client_.Start(std::move(near), {.role = Role::kClient, .up_timeout = kPatience});
    server_.Start(std::move(far), {.role = Role::kServer, .up_timeout = kPatience});
  }
  void StartGood() {
    Start(LoadTls(ours_.Issue("proxy")), LoadTls(ours_.Issue("agent")));
    ASSERT_TRUE(RunUntil([&] { return client_.up() && server_.up(); }))
        << client_.lost_why << " " << server_.lost_why;
  }
  void ExpectRefused() {
    ASSERT_TRUE(RunUntil([&] { return client_.lost && server_.lost; }));
    // Expects that neither end came up.
    EXPECT_THAT(client_.log, ElementsAre("lost"));
    EXPECT_THAT(server_.log, ElementsAre("lost"));
    EXPECT_FALSE(client_.lost_why.ok());
    EXPECT_FALSE(server_.lost_why.ok());
  }

  void ExpectTlsFaultAtBothEnds() {
    for (const test::TrunkSide* side : {&client_, &server_}) {
      EXPECT_TRUE(absl::IsUnauthenticated(side->lost_why)) << side->lost_why;
      EXPECT_EQ(side->counters.tls_failures.Value(), 1u);
    }
  }

  ScratchFolder folder_;
  TestCa ours_{folder_, "ours"};
  TestCa theirs_{folder_, "theirs"};

 private:
  void Relay() {
    if (!relaying_) return;
    for (auto [from, to] :
         {std::pair(&near_wire_, &far_wire_), std::pair(&far_wire_, &near_wire_)}) {
      const size_t most = size_t{1} << random_.Next() % 16;
      const size_t size = std::min<size_t>(from->UnreadBytes(), 1 + random_.Next() % most);
      const bool sent = size == 0 || to->Send(from->Read(size));
      EXPECT_TRUE(sent);
    }
  }

  FastRandom random_{1};
  bool relaying_ = false;
  Peer near_wire_;
  Peer far_wire_;
};

TEST_F(TrunkTlsTest, StreamCarriesBytesBothWaysAndHalfCloses) {
  StartGood();
  TestStream& near = Open();
  near.source = "question";
  near.finish = true;
  ASSERT_TRUE(
      RunUntil([&] { return !server_.accepted.empty() && server_.accepted[0]->ends == 1; }));
  EXPECT_EQ(server_.accepted[0]->received, "question");
  server_.accepted[0]->Send("a long");
  ASSERT_TRUE(RunUntil([&] { return near.received == "a long"; }));
  server_.accepted[0]->Send(" answer", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !near.closes.empty(); }));
  EXPECT_EQ(near.received, "a long answer");
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
}

TEST_F(TrunkTlsTest, BytesArriveUnchangedForAnyRecordSplit) {
  StartRelayed();
  const std::string up = RandomBytes(300'000, 2);
  const std::string down = RandomBytes(300'000, 3);
  TestStream& near = Open();
  near.source = up;
  near.finish = true;
  ASSERT_TRUE(RunUntil([&] { return !server_.accepted.empty(); }))
      << client_.lost_why << server_.lost_why;
  TestStream& far = *server_.accepted[0];
  far.Send(down, /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !near.closes.empty() && !far.closes.empty(); }));
  EXPECT_TRUE(far.received == up);
  EXPECT_TRUE(near.received == down);
}

TEST_F(TrunkTlsTest, OutputBeyondTheKernelBufferIsSentCompletely) {
  StartGood();
  constexpr size_t kStreams = 20;
  const std::string bytes = RandomBytes(500'000, 4);
  for (size_t i = 0; i < kStreams; ++i) Open().source = bytes;
  ASSERT_TRUE(RunUntil([&] {
    return server_.accepted.size() == kStreams &&
           std::all_of(server_.accepted.begin(), server_.accepted.end(),
                       [&](const auto& far) { return far->received.size() == bytes.size(); });
  }));
  for (const auto& far : server_.accepted) EXPECT_TRUE(far->received == bytes);
}

TEST_F(TrunkTlsTest, DrainedTrunkClosesCleanly) {
  StartGood();
  TestStream& near = Open();
  ASSERT_TRUE(RunUntil([&] { return near.headers.size() == 1; }));
  server_.trunk->Drain();
  near.Send("the last words", /*last=*/true);
  server_.accepted[0]->Send("and theirs", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return client_.lost && server_.lost; }));
  EXPECT_EQ(server_.accepted[0]->received, "the last words");
  EXPECT_EQ(near.received, "and theirs");
  EXPECT_TRUE(client_.lost_why.ok()) << client_.lost_why;
  EXPECT_TRUE(server_.lost_why.ok()) << server_.lost_why;
}

TEST_F(TrunkTlsTest, AgentFromAnotherCaIsRefused) {
  TlsFiles strange = theirs_.Issue("agent");
  strange.ca = ours_.CaFile();  // it would accept ours
  Start(LoadTls(ours_.Issue("proxy")), LoadTls(strange));
  ExpectRefused();
  EXPECT_THAT(std::string(client_.lost_why.message()), HasSubstr("certificate verify failed"));
  EXPECT_THAT(std::string(server_.lost_why.message()),
              HasSubstr("the peer refuses the certificate of this end: "));
  EXPECT_THAT(std::string(server_.lost_why.message()), HasSubstr("unknown ca"));
  ExpectTlsFaultAtBothEnds();
}

TEST_F(TrunkTlsTest, ProxyFromAnotherCaIsRefused) {
  TlsFiles strange = theirs_.Issue("proxy");
  strange.ca = ours_.CaFile();
  Start(LoadTls(strange), LoadTls(ours_.Issue("agent")));
  ExpectRefused();
  // The client learns of the failure after its own side of the handshake is complete.
  ExpectTlsFaultAtBothEnds();
  EXPECT_THAT(std::string(server_.lost_why.message()), HasSubstr("certificate verify failed"));
}

TEST_F(TrunkTlsTest, CertificateThatExpiresAfterLoadingIsRefusedByThePeer) {
  const TlsFiles old = ours_.Issue("proxy", {.begins = -absl::Hours(3), .ends = -absl::Hours(1)});
  Start(LoadTls(old, absl::Now() - absl::Hours(2)), LoadTls(ours_.Issue("agent")));
  ExpectRefused();
  EXPECT_THAT(std::string(server_.lost_why.message()), HasSubstr("certificate has expired"));
  ExpectTlsFaultAtBothEnds();
}

TEST_F(TrunkTlsTest, ClientOnlyCertificateIsRefusedForAnAgent) {
  Start(LoadTls(ours_.Issue("proxy")), LoadTls(ours_.Issue("agent", {.usage = "clientAuth"})));
  ExpectRefused();
}

TEST_F(TrunkTlsTest, BothEndsSayThatOnlyTheAgentUsesTls) {
  Start(nullptr, LoadTls(ours_.Issue("agent")));
  ExpectRefused();
  ExpectTlsFaultAtBothEnds();
  EXPECT_THAT(std::string(server_.lost_why.message()),
              HasSubstr("the peer speaks plain HTTP/2 and this end expects TLS: set trunk_tls on "
                        "both ends or on neither"));
  EXPECT_THAT(std::string(client_.lost_why.message()),
              HasSubstr("the peer speaks TLS and this end does not: set trunk_tls on both ends or "
                        "on neither"));
}

TEST_F(TrunkTlsTest, BothEndsSayThatOnlyTheProxyUsesTls) {
  Start(LoadTls(ours_.Issue("proxy")), nullptr);
  ExpectRefused();
  ExpectTlsFaultAtBothEnds();
  EXPECT_THAT(std::string(client_.lost_why.message()), HasSubstr("the peer speaks plain HTTP/2"));
  EXPECT_THAT(std::string(server_.lost_why.message()), HasSubstr("the peer speaks TLS"));
  EXPECT_EQ(server_.counters.protocol_errors.Value(), 0u) << "it is no fault of HTTP/2";
}

TEST_F(TrunkTlsTest, RefusedConnectIsNoFaultOfTls) {
  client_.tls = LoadTls(ours_.Issue("proxy"));
  const test::RefusingPort port;
  ConnectResult dial = ConnectTo(ResolveAddress(port.address()).value());
  ASSERT_EQ(dial.state, ConnectState::kInProgress);
  client_.Start(std::move(dial.fd), {.role = Role::kClient, .up_timeout = kPatience});
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_TRUE(absl::IsUnavailable(client_.lost_why)) << client_.lost_why;
  EXPECT_EQ(client_.counters.tls_failures.Value(), 0u);
}

// An agent without this version's alert closes the connection of a plain proxy without a byte.
TEST_F(TrunkTlsTest, PlainProxyThatIsHungUpOnSuspectsTls) {
  auto [fd, peer] = TcpPair();
  client_.Start(std::move(fd), {.role = Role::kClient, .up_timeout = kPatience});
  peer.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return client_.lost; }));
  EXPECT_THAT(std::string(client_.lost_why.message()),
              HasSubstr("does it expect TLS (trunk_tls)?"));
}

// A client of the test, by OpenSSL's own API.
class RawClientTest : public TrunkTlsTest {
 protected:
  void StartServer(absl::Duration up_timeout = kPatience) {
    server_.tls = LoadTls(ours_.Issue("agent"));
    auto [fd, peer] = TcpPair();
    peer_ = std::move(peer);
    server_.Start(std::move(fd), {.role = Role::kServer, .up_timeout = up_timeout});
  }
  // Handshakes with `files`. Returns false if that failed.
  bool Handshake(const TlsFiles& files, const std::string& alpn, int version = TLS1_3_VERSION) {
    const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_method()),
                                                                    SSL_CTX_free);
    SSL_CTX_set_max_proto_version(context.get(), version);
    if (!files.cert.empty()) {
      SSL_CTX_use_certificate_chain_file(context.get(), files.cert.c_str());
      SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM);
    }
    const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
    SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                        static_cast<unsigned>(alpn.size()));
    fcntl(peer_.fd(), F_SETFL, O_NONBLOCK);
    SSL_set_fd(ssl.get(), peer_.fd());
    char byte = 0;
    int result = 0;
    // Only the server's first byte shows that it accepted the client.
    const bool ended = RunUntil([&] {
      result = SSL_connect(ssl.get());
      if (result == 1) result = SSL_read(ssl.get(), &byte, 1);
      const int error = SSL_get_error(ssl.get(), result);
      return result == 1 || (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE);
    });
    EXPECT_TRUE(ended);
    return result == 1;
  }

  const std::string h2_ = "\x02h2";
  Peer peer_;
};

TEST_F(RawClientTest, ClientWithACertificateAndAlpnIsAccepted) {
  StartServer();
  EXPECT_TRUE(Handshake(ours_.Issue("client"), h2_)) << server_.lost_why;
  EXPECT_FALSE(server_.lost);
}

TEST_F(RawClientTest, ClientWithoutAlpnIsRefused) {
  StartServer();
  EXPECT_FALSE(Handshake(ours_.Issue("client"), ""));
  EXPECT_TRUE(server_.lost);
  EXPECT_THAT(std::string(server_.lost_why.message()), HasSubstr("ALPN"));
}

TEST_F(RawClientTest, ClientOfAnotherProtocolIsRefused) {
  StartServer();
  EXPECT_FALSE(Handshake(ours_.Issue("client"), "\x08http/1.1"));
  EXPECT_TRUE(server_.lost);
}

TEST_F(RawClientTest, ClientWithoutACertificateIsRefused) {
  StartServer();
  EXPECT_FALSE(Handshake({}, h2_));
  EXPECT_TRUE(server_.lost);
}

TEST_F(RawClientTest, OlderTlsIsRefused) {
  StartServer();
  EXPECT_FALSE(Handshake(ours_.Issue("client"), h2_, TLS1_2_VERSION));
  EXPECT_TRUE(server_.lost);
}

TEST_F(RawClientTest, SilentClientTimesOut) {
  StartServer(absl::Milliseconds(30));
  ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
  peer_.ReadToEnd();
  EXPECT_NE(peer_.ending(), Ending::kNone);
}

TEST_F(RawClientTest, SilentClientDoesNotDelayADrain) {
  server_.tls = LoadTls(ours_.Issue("agent"));
  auto [fd, peer] = TcpPair();
  server_.Start(
      std::move(fd),
      {.role = Role::kServer, .ping_after = absl::Hours(1), .up_timeout = absl::Hours(1)});
  loop_.RunOnce(absl::ZeroDuration());
  server_.trunk->Drain();
  ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
  EXPECT_TRUE(server_.lost_why.ok()) << server_.lost_why;
}

TEST_F(RawClientTest, JunkClosesTheConnection) {
  for (const std::string& junk :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\0'), RandomBytes(5000, 5)}) {
    server_.lost = false;
    StartServer();
    peer_.SendWhatFits(junk);
    ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
    EXPECT_FALSE(server_.lost_why.ok());
  }
}

TEST_F(RawClientTest, ClientThatLeavesDuringTheHandshakeIsDropped) {
  StartServer();
  peer_.SendWhatFits(std::string("\x16\x03\x01", 3));
  peer_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return server_.lost; }));
  EXPECT_FALSE(server_.lost_why.ok());
}

}  // namespace
}  // namespace trunkline
