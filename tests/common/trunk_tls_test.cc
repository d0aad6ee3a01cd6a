// Trunks in TLS: what both ends accept of each other, and that nothing else changes.
#include "common/trunk_tls.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include "common/random.h"
#include "common/trunk_connection.h"
#include "tests/common/http2_pair.h"
#include "tests/common/random_bytes.h"
#include "tests/common/tcp_pair.h"
#include "tests/common/test_certificates.h"

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

using Role = Http2Session::Role;

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

TEST_F(TlsFilesTest, GoodFilesAreTaken) { EXPECT_NE(LoadTls(good_), nullptr); }

TEST_F(TlsFilesTest, MissingFilesAreNamedAllAtOnce) {
  const std::string error =
      ErrorOf({.ca = folder_.File("no-ca"), .cert = folder_.File("no-cert"), .key = ""});
  EXPECT_THAT(error, HasSubstr("trunk_tls.ca_file: " + folder_.File("no-ca") + ": No such file"));
  EXPECT_THAT(error,
              HasSubstr("trunk_tls.cert_file: " + folder_.File("no-cert") + ": No such file"));
  EXPECT_THAT(error, HasSubstr("trunk_tls.key_file: expected the path of a PEM file"));
}

TEST_F(TlsFilesTest, FilesThatAreNoPemAreNamedWithWhatWasExpected) {
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

TEST_F(TlsFilesTest, CertificateOfTheFutureIsRefused) {
  EXPECT_THAT(ErrorOf(good_, absl::Now() - absl::Hours(2)), HasSubstr("is valid only from"));
}

TEST_F(TlsFilesTest, KeyWithAPassphraseIsRefusedAndNobodyIsAsked) {
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

// One end of a trunk.
class Side final : public TrunkConnection::Owner {
 public:
  explicit Side(EventLoop& loop) : loop_(loop) {}
  ~Side() override {
    if (trunk != nullptr) trunk->Close(absl::OkStatus());
    loop_.RunOnce(absl::ZeroDuration());
  }
  void Start(UniqueFd fd, Role role, const TrunkTls* tls,
             absl::Duration up_timeout = absl::Seconds(20)) {
    const TrunkConnection::Options options = {
        .session = {.role = role}, .up_timeout = up_timeout, .tls = tls};
    TrunkConnection::Owner* const owner = this;
    trunk = std::make_unique<TrunkConnection>(loop_, std::move(fd), options, owner, &counters);
  }
  bool up() const { return trunk != nullptr && trunk->up(); }

  Http2Stream* OnConnect(TrunkConnection&, std::string_view, int*) override {
    accepted.push_back(std::make_unique<TestStream>());
    accepted.back()->on_headers = [](TestStream& s) { s.session()->Respond(&s, 200); };
    return accepted.back().get();
  }
  void OnTrunkChanged(TrunkConnection& t) override { was_up = was_up || t.up(); }
  void OnTrunkLost(TrunkConnection&, const absl::Status& status) override {
    lost = true;
    why = status;
    loop_.Retire(std::move(trunk));
  }

  TrunkCounters counters;
  std::vector<std::unique_ptr<TestStream>> accepted;
  std::unique_ptr<TrunkConnection> trunk;
  bool was_up = false;
  bool lost = false;
  absl::Status why;

 private:
  EventLoop& loop_;
};

class TrunkTlsTest : public ::testing::Test {
 protected:
  template <typename Condition>
  [[nodiscard]] bool RunUntil(Condition condition) {
    const MonotonicTime deadline = MonotonicNow() + absl::Milliseconds(test::kPatienceMillis);
    while (!condition()) {
      if (MonotonicNow() > deadline) return false;
      Relay();
      loop_.RunOnce(absl::Milliseconds(relaying_ ? 1 : 20));
    }
    return true;
  }
  // `proxy` dials `agent`; null: plain.
  void Start(std::shared_ptr<const TrunkTls> proxy, std::shared_ptr<const TrunkTls> agent) {
    proxy_tls_ = std::move(proxy);
    agent_tls_ = std::move(agent);
    auto [near, peer] = TcpPair();
    UniqueFd far(fcntl(peer.fd(), F_DUPFD_CLOEXEC, 0));
    fcntl(far.get(), F_SETFL, O_NONBLOCK);
    peer.Close();
    proxy_.Start(std::move(near), Role::kClient, proxy_tls_.get());
    agent_.Start(std::move(far), Role::kServer, agent_tls_.get());
  }
  // The same, with the test on the wire between them: bytes travel in pieces of any size.
  void StartRelayed() {
    proxy_tls_ = agent_tls_ = LoadTls(ours_.Issue("both"));
    auto [near, near_peer] = TcpPair();
    auto [far, far_peer] = TcpPair();
    near_wire_ = std::move(near_peer);
    far_wire_ = std::move(far_peer);
    relaying_ = true;
    proxy_.Start(std::move(near), Role::kClient, proxy_tls_.get());
    agent_.Start(std::move(far), Role::kServer, agent_tls_.get());
  }
  void StartGood() {
    Start(LoadTls(ours_.Issue("proxy")), LoadTls(ours_.Issue("agent")));
    ASSERT_TRUE(RunUntil([&] { return proxy_.up() && agent_.up(); }))
        << proxy_.why << " " << agent_.why;
  }
  TestStream& Open() {
    near_.push_back(std::make_unique<TestStream>());
    EXPECT_TRUE(proxy_.trunk->session().Connect("db:1", near_.back().get()).ok());
    return *near_.back();
  }
  void ExpectRefused() {
    ASSERT_TRUE(RunUntil([&] { return proxy_.lost && agent_.lost; }));
    EXPECT_FALSE(proxy_.was_up);
    EXPECT_FALSE(agent_.was_up);
    EXPECT_FALSE(proxy_.why.ok());
    EXPECT_FALSE(agent_.why.ok());
  }

  ScratchFolder folder_;
  TestCa ours_{folder_, "ours"};
  TestCa theirs_{folder_, "theirs"};
  std::shared_ptr<const TrunkTls> proxy_tls_;
  std::shared_ptr<const TrunkTls> agent_tls_;
  EventLoop loop_;
  std::vector<std::unique_ptr<TestStream>> near_;
  Side proxy_{loop_};
  Side agent_{loop_};

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

TEST_F(TrunkTlsTest, StreamsAreCarriedBothWaysAndHalfClosed) {
  StartGood();
  TestStream& near = Open();
  near.source = "question";
  near.finish = true;
  ASSERT_TRUE(RunUntil([&] { return !agent_.accepted.empty() && agent_.accepted[0]->ends == 1; }));
  EXPECT_EQ(agent_.accepted[0]->received, "question");
  agent_.accepted[0]->Send("a long");
  ASSERT_TRUE(RunUntil([&] { return near.received == "a long"; }));
  agent_.accepted[0]->Send(" answer", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !near.closes.empty(); }));
  EXPECT_EQ(near.received, "a long answer");
  EXPECT_THAT(near.closes, ElementsAre(NGHTTP2_NO_ERROR));
}

TEST_F(TrunkTlsTest, BytesCrossUnchangedHoweverTheWireCutsThem) {
  StartRelayed();
  const std::string up = RandomBytes(300'000, 2);
  const std::string down = RandomBytes(300'000, 3);
  TestStream& near = Open();
  near.source = up;
  near.finish = true;
  ASSERT_TRUE(RunUntil([&] { return !agent_.accepted.empty(); })) << proxy_.why << agent_.why;
  TestStream& far = *agent_.accepted[0];
  far.Send(down, /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return !near.closes.empty() && !far.closes.empty(); }));
  EXPECT_TRUE(far.received == up);
  EXPECT_TRUE(near.received == down);
}

TEST_F(TrunkTlsTest, MoreThanTheKernelTakesIsSentWhole) {
  StartGood();
  constexpr size_t kStreams = 20;
  const std::string bytes = RandomBytes(500'000, 4);
  for (size_t i = 0; i < kStreams; ++i) Open().source = bytes;
  ASSERT_TRUE(RunUntil([&] {
    return agent_.accepted.size() == kStreams &&
           std::all_of(agent_.accepted.begin(), agent_.accepted.end(),
                       [&](const auto& far) { return far->received.size() == bytes.size(); });
  }));
  for (const auto& far : agent_.accepted) EXPECT_TRUE(far->received == bytes);
}

TEST_F(TrunkTlsTest, DrainEndsInAnOrderlyWay) {
  StartGood();
  TestStream& near = Open();
  ASSERT_TRUE(RunUntil([&] { return near.headers.size() == 1; }));
  agent_.trunk->Drain();
  near.Send("the last words", /*last=*/true);
  agent_.accepted[0]->Send("and theirs", /*last=*/true);
  ASSERT_TRUE(RunUntil([&] { return proxy_.lost && agent_.lost; }));
  EXPECT_EQ(agent_.accepted[0]->received, "the last words");
  EXPECT_EQ(near.received, "and theirs");
  EXPECT_TRUE(proxy_.why.ok()) << proxy_.why;
  EXPECT_TRUE(agent_.why.ok()) << agent_.why;
}

TEST_F(TrunkTlsTest, AgentOfAnotherCaIsRefused) {
  TlsFiles strange = theirs_.Issue("agent");
  strange.ca = ours_.CaFile();  // it would take us
  Start(LoadTls(ours_.Issue("proxy")), LoadTls(strange));
  ExpectRefused();
  EXPECT_THAT(std::string(proxy_.why.message()), HasSubstr("certificate verify failed"));
  EXPECT_THAT(std::string(agent_.why.message()), HasSubstr("unknown ca"));
  EXPECT_EQ(agent_.counters.tls_failures.Value(), 1u);
}

TEST_F(TrunkTlsTest, ProxyOfAnotherCaIsRefused) {
  TlsFiles strange = theirs_.Issue("proxy");
  strange.ca = ours_.CaFile();
  Start(LoadTls(strange), LoadTls(ours_.Issue("agent")));
  ExpectRefused();
  EXPECT_THAT(std::string(agent_.why.message()), HasSubstr("certificate verify failed"));
}

TEST_F(TrunkTlsTest, CertificateThatExpiredSinceIsRefusedByThePeer) {
  const TlsFiles old = ours_.Issue("proxy", {.begins = -absl::Hours(3), .ends = -absl::Hours(1)});
  Start(LoadTls(old, absl::Now() - absl::Hours(2)), LoadTls(ours_.Issue("agent")));
  ExpectRefused();
  EXPECT_THAT(std::string(agent_.why.message()), HasSubstr("certificate has expired"));
}

TEST_F(TrunkTlsTest, CertificateForClientsOnlyMakesNoAgent) {
  Start(LoadTls(ours_.Issue("proxy")), LoadTls(ours_.Issue("agent", {.usage = "clientAuth"})));
  ExpectRefused();
}

TEST_F(TrunkTlsTest, PlainProxyAtATlsPortGetsAnEnd) {
  Start(nullptr, LoadTls(ours_.Issue("agent")));
  ExpectRefused();
}

TEST_F(TrunkTlsTest, TlsProxyAtAPlainPortGetsAnEnd) {
  Start(LoadTls(ours_.Issue("proxy")), nullptr);
  ExpectRefused();
}

// A client that the test plays, in OpenSSL's own way.
class RawClientTest : public TrunkTlsTest {
 protected:
  void StartAgent(absl::Duration up_timeout = absl::Seconds(20)) {
    agent_tls_ = LoadTls(ours_.Issue("agent"));
    auto [fd, peer] = TcpPair();
    peer_ = std::move(peer);
    agent_.Start(std::move(fd), Role::kServer, agent_tls_.get(), up_timeout);
  }
  // A handshake with `files`; false: it failed.
  bool Shake(const TlsFiles& files, const std::string& alpn, int version = TLS1_3_VERSION) {
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
    // Whether the agent takes us is known only from its first byte.
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

TEST_F(RawClientTest, ClientWithACertificateAndAlpnIsTaken) {
  StartAgent();
  EXPECT_TRUE(Shake(ours_.Issue("client"), h2_)) << agent_.why;
  EXPECT_FALSE(agent_.lost);
}

TEST_F(RawClientTest, ClientWithoutAlpnIsRefused) {
  StartAgent();
  EXPECT_FALSE(Shake(ours_.Issue("client"), ""));
  EXPECT_TRUE(agent_.lost);
  EXPECT_THAT(std::string(agent_.why.message()), HasSubstr("ALPN"));
}

TEST_F(RawClientTest, ClientOfAnotherProtocolIsRefused) {
  StartAgent();
  EXPECT_FALSE(Shake(ours_.Issue("client"), "\x08http/1.1"));
  EXPECT_TRUE(agent_.lost);
}

TEST_F(RawClientTest, ClientWithoutACertificateIsRefused) {
  StartAgent();
  EXPECT_FALSE(Shake({}, h2_));
  EXPECT_TRUE(agent_.lost);
}

TEST_F(RawClientTest, OlderTlsIsRefused) {
  StartAgent();
  EXPECT_FALSE(Shake(ours_.Issue("client"), h2_, TLS1_2_VERSION));
  EXPECT_TRUE(agent_.lost);
}

TEST_F(RawClientTest, ClientThatSaysNothingIsGivenUp) {
  StartAgent(absl::Milliseconds(30));
  ASSERT_TRUE(RunUntil([&] { return agent_.lost; }));
  peer_.ReadToEnd();
  EXPECT_NE(peer_.ending(), Ending::kNone);
}

TEST_F(RawClientTest, JunkEndsIt) {
  for (const std::string& junk :
       {std::string("GET / HTTP/1.1\r\n\r\n"), std::string(100'000, '\0'), RandomBytes(5000, 5)}) {
    agent_.lost = false;
    StartAgent();
    peer_.SendWhatFits(junk);
    ASSERT_TRUE(RunUntil([&] { return agent_.lost; }));
    EXPECT_FALSE(agent_.why.ok());
  }
}

TEST_F(RawClientTest, ClientThatLeavesDuringTheHandshakeEndsIt) {
  StartAgent();
  peer_.SendWhatFits(std::string("\x16\x03\x01", 3));
  peer_.ShutdownWrite();
  ASSERT_TRUE(RunUntil([&] { return agent_.lost; }));
  EXPECT_FALSE(agent_.why.ok());
}

}  // namespace
}  // namespace trunkline
