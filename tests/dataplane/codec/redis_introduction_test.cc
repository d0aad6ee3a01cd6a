// HELLO and AUTH of Redis clients: the version that a client chooses, and the service's credential,
// which the proxy checks itself.
#include "dataplane/codec/redis_introduction.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "dataplane/codec/codec.h"
#include "dataplane/codec/redis.h"
#include "tests/dataplane/codec/feed.h"
#include "tests/dataplane/codec/found.h"

namespace trunkline {
namespace {

using test::Fed;
using test::FeedRequests;
using test::Pieces;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const char kHello2[] = "substitute=*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n";
const char kHello3[] = "variant=1 substitute=*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n";
const char kOk[] = "once local=+OK\r\n";
const char kNoAuth[] = "once local=-NOAUTH Authentication required.\r\n";
const char kWrong[] =
    "once local=-WRONGPASS invalid username-password pair or user is disabled.\r\n";

std::string Command(const std::vector<std::string>& words) {
  std::string command = "*" + std::to_string(words.size()) + "\r\n";
  for (const std::string& word : words) {
    command += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
  }
  return command;
}

std::unique_ptr<Codec> Open() { return NewRedisCodec({}); }
std::unique_ptr<Codec> Locked(const std::string& user = "", size_t max_request_bytes = 4096) {
  return NewRedisCodec({.max_request_bytes = max_request_bytes,
                        .credential = RedisCredential{.user = user, .password = "se cret"}});
}

// The notes of one client's commands, the same however its bytes are cut.
std::vector<std::string> Notes(const Codec& codec, const std::string& commands) {
  const auto feed = [&](const Pieces& pieces) { return FeedRequests(codec, pieces); };
  const Fed fed = test::FeedEverySplit(commands, feed);
  EXPECT_FALSE(fed.broken) << fed.fault;
  EXPECT_EQ(fed.rest, "");
  return fed.notes;
}
std::string LastNote(const Codec& codec, const std::string& commands) {
  const std::vector<std::string> notes = Notes(codec, commands);
  return notes.empty() ? "none" : notes.back();
}

TEST(RedisIntroductionTest, HelloMovesTheClientToItsVersionForAllLaterCommands) {
  EXPECT_THAT(Notes(*Open(), Command({"GET", "k"}) + Command({"hello", "3"}) +
                                 Command({"GET", "k"}) + Command({"MULTI"}) + "HELLO\r\n" +
                                 "hello 2\r\n" + Command({"INCR", "k"}) + "HELLO\r\n"),
              ElementsAre("", kHello3, "variant=1", "dedicated once variant=1", kHello3, kHello2,
                          "once", kHello2));
}

TEST(RedisIntroductionTest, NameOfTheClientReachesNoServer) {
  EXPECT_EQ(LastNote(*Open(), Command({"HELLO", "3", "SETNAME", "worker"})), kHello3);
  EXPECT_EQ(LastNote(*Open(), "HELLO 2 setname worker\r\n"), kHello2);
}

TEST(RedisIntroductionTest, OtherVersionsAreRefusedAndChangeNothing) {
  for (const char* version : {"4", "1", "-3", "33"}) {
    EXPECT_THAT(Notes(*Open(), Command({"HELLO", version}) + "PING\r\n"),
                ElementsAre("once local=-NOPROTO unsupported protocol version\r\n", ""))
        << version;
  }
  for (const char* version : {"three", "3x", "", "99999999999999999999", " 3", "3 ", "+3", "03",
                              "-0", "-", "--3", "3\t"}) {
    EXPECT_THAT(LastNote(*Open(), Command({"HELLO", version})),
                HasSubstr("local=-ERR Protocol version is not an integer"))
        << version;
  }
}

TEST(RedisIntroductionTest, FormsThatTheProxyDoesNotKnowReachTheServer) {
  for (const std::vector<std::string>& words : {std::vector<std::string>{"HELLO", "3", "NEW"},
                                                {"HELLO", "3", "SETNAME"},
                                                {"HELLO", "3", "SETNAME", "a name"},
                                                {"HELLO", "3", "AUTH", "user"},
                                                {"HELLO", "3", "AUTH", "user", "password"},
                                                {"AUTH", "password"},
                                                {"AUTH"}}) {
    EXPECT_THAT(Notes(*Open(), Command(words) + "PING\r\n"), ElementsAre("dedicated once", ""))
        << words.back();
  }
  EXPECT_EQ(LastNote(*Open(), "HELLO \"3\"\r\n"), "dedicated once");
}

TEST(RedisIntroductionTest, MaintenanceNotificationsAreRefusedAndDoNotEndSharing) {
  EXPECT_THAT(Notes(*Open(), Command({"CLIENT", "MAINT_NOTIFICATIONS", "ON", "moving-endpoint-type",
                                      "external-ip"}) +
                                 "client maint_notifications off\r\nPING\r\n" +
                                 Command({"CLIENT", "MAINT_NOTIFICATION", "ON"})),
              ElementsAre("once local=-ERR unknown subcommand\r\n",
                          "once local=-ERR unknown subcommand\r\n", "", "dedicated"));
}

TEST(RedisIntroductionTest, NoCommandPassesBeforeTheCredential) {
  for (const char* command :
       {"GET k\r\n", "SUBSCRIBE c\r\n", "MULTI\r\n", "SELECT 1\r\n", "CLIENT SETNAME n\r\n",
        "CLIENT MAINT_NOTIFICATIONS ON\r\n", "RESET\r\n", "SHUTDOWN\r\n", "GET \"k\"\r\n",
        "AUTH \"se cret\"\r\n", "\"QUIT\"\r\n", "HELLO \"3\"\r\n"}) {
    EXPECT_EQ(LastNote(*Locked(), command), kNoAuth) << command;
  }
  EXPECT_EQ(LastNote(*Locked(), Command({"EVAL", "return 1", "0"})), kNoAuth);
  EXPECT_EQ(LastNote(*Locked(), "QUIT\r\n"), "last once local=+OK\r\n");
}

TEST(RedisIntroductionTest, HelloNeedsTheCredentialToo) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"HELLO"}, {"HELLO", "3"}, {"HELLO", "3", "SETNAME", "n"}}) {
    EXPECT_THAT(LastNote(*Locked(), Command(words)), HasSubstr("local=-NOAUTH HELLO must be"));
  }
  EXPECT_THAT(LastNote(*Locked(), "HELLO 4\r\n"), HasSubstr("local=-NOPROTO"));
}

// As with Redis, which reads all options before it checks the credential.
TEST(RedisIntroductionTest, HelloWithAnUnknownOptionAuthenticatesNoClient) {
  const std::string syntax = "once local=-ERR Syntax error in HELLO option\r\n";
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"HELLO", "3", "NEW"},
        {"HELLO", "3", "AUTH", "default"},
        {"HELLO", "3", "AUTH", "default", "se cret", "NEW"},
        {"HELLO", "3", "AUTH", "default", "se cret", "SETNAME"},
        {"HELLO", "3", "AUTH", "default", "se cret", "SETNAME", "a name"},
        {"HELLO", "3", "AUTH", "default", "wrong", "NEW"}}) {
    EXPECT_THAT(Notes(*Locked(), Command(words) + "GET k\r\n"), ElementsAre(syntax, kNoAuth))
        << words.back();
  }
  EXPECT_THAT(Notes(*Locked(), Command({"AUTH", "se cret"}) +
                                   Command({"HELLO", "3", "AUTH", "default", "se cret", "NEW"}) +
                                   Command({"HELLO", "3", "AUTH", "default", "wrong", "NEW"})),
              ElementsAre(kOk, "dedicated once", kWrong))
      << "an authenticated client gets the server's own answer";
}

TEST(RedisIntroductionTest, TheCredentialOpensTheConnectionForGood) {
  const std::string later = "GET k\r\nMULTI\r\nGET \"k\"\r\n";
  EXPECT_THAT(Notes(*Locked(), Command({"AUTH", "se cret"}) + later),
              ElementsAre(kOk, "", "dedicated once", "dedicated"));
  EXPECT_THAT(Notes(*Locked(), Command({"auth", "default", "se cret"}) + "GET k\r\n"),
              ElementsAre(kOk, ""));
  EXPECT_THAT(
      Notes(*Locked(), Command({"HELLO", "3", "AUTH", "default", "se cret", "SETNAME", "n"}) +
                           "GET k\r\nHELLO 2\r\nGET k\r\n"),
      ElementsAre(kHello3, "variant=1", kHello2, ""));
  EXPECT_THAT(Notes(*Locked(), Command({"AUTH", "se cret"}) + "AUTH wrong\r\nGET k\r\n"),
              ElementsAre(kOk, kWrong, ""))
      << "a failed AUTH takes nothing away";
}

TEST(RedisIntroductionTest, WrongCredentialsAreRefused) {
  for (const std::vector<std::string>& words :
       {std::vector<std::string>{"AUTH", "se cre"},
        {"AUTH", "se cret "},
        {"AUTH", ""},
        {"AUTH", "SE CRET"},
        {"AUTH", std::string("se cret\0", 8)},
        {"AUTH", std::string(2000, 'x')},
        {"AUTH", "app", "se cret"},
        {"AUTH", "se cret", "default"},
        {"HELLO", "3", "AUTH", "default", "wrong"},
        {"HELLO", "3", "AUTH", "app", "se cret"},
        {"HELLO", "3", "AUTH", "default", "wrong", "AUTH", "default", "worse"}}) {
    EXPECT_THAT(Notes(*Locked(), Command(words) + "GET k\r\n"), ElementsAre(kWrong, kNoAuth))
        << words.back();
  }
  EXPECT_THAT(LastNote(*Locked(), "AUTH\r\n"), HasSubstr("-ERR wrong number of arguments"));
  EXPECT_THAT(LastNote(*Locked(), "AUTH a b c\r\n"), HasSubstr("-ERR syntax error"));
}

// The argument is cut off where the proxy stops to look, and must not match there.
TEST(RedisIntroductionTest, LongArgumentThatBeginsWithThePasswordIsWrong) {
  const std::string password(1024, 'p');
  const auto codec =
      NewRedisCodec({.credential = RedisCredential{.user = "", .password = password}});
  EXPECT_EQ(LastNote(*codec, Command({"AUTH", password})), kOk);
  EXPECT_EQ(LastNote(*codec, Command({"AUTH", password + "x"})), kWrong);
}

TEST(RedisIntroductionTest, RefusalsSayWhetherACredentialIsMissingOrWrong) {
  const auto denial = [](const std::string& command) {
    return test::FindRequests(*Locked(), command).front().request.denial;
  };
  EXPECT_EQ(denial("GET k\r\n"), Denial::kNoCredential);
  EXPECT_EQ(denial("HELLO 3\r\n"), Denial::kNoCredential);
  EXPECT_EQ(denial("AUTH wrong\r\n"), Denial::kWrongCredential);
  EXPECT_EQ(denial("HELLO 3 AUTH default wrong\r\n"), Denial::kWrongCredential);
  EXPECT_EQ(denial(Command({"AUTH", "se cret"})), Denial::kNone);
  EXPECT_EQ(denial("HELLO 4\r\n"), Denial::kNone);
  EXPECT_EQ(denial("QUIT\r\n"), Denial::kNone);
}

TEST(RedisIntroductionTest, NamedUserIsNotTheDefaultOne) {
  EXPECT_EQ(LastNote(*Locked("app"), Command({"AUTH", "app", "se cret"})), kOk);
  EXPECT_EQ(LastNote(*Locked("app"), Command({"AUTH", "se cret"})), kWrong);
  EXPECT_EQ(LastNote(*Locked("app"), Command({"HELLO", "3", "AUTH", "app", "se cret"})), kHello3);
}

// A command that is not buffered goes to a dedicated connection, which the proxy has opened with
// the credential.
TEST(RedisIntroductionTest, CommandTooLargeToBeBufferedIsRefusedBeforeTheCredential) {
  const auto codec = Locked("", /*max_request_bytes=*/64);
  for (const std::string& large :
       {Command({"SET", "k", std::string(100, 'v')}), "SET k " + std::string(100, 'v') + "\r\n",
        std::string("*1000000\r\n")}) {
    const Fed fed = FeedRequests(*codec, {large});
    EXPECT_TRUE(fed.broken);
    EXPECT_EQ(fed.fault, "a command above max_message_bytes came before AUTH");
    const Fed later = FeedRequests(*codec, {Command({"AUTH", "se cret"}) + large});
    EXPECT_FALSE(later.broken);
    EXPECT_THAT(later.stream_notes, ElementsAre(HasSubstr("dedicated")));
  }
}

TEST(RedisOpeningTest, ConnectionsOfAServiceWithoutCredentialOpenWithTheirVersion) {
  EXPECT_EQ(Open()->Opening(kResp2), "");
  EXPECT_EQ(Open()->Opening(kResp3), Command({"HELLO", "3"}));
  EXPECT_EQ(Open()->fingerprint(), 0u);
}

TEST(RedisOpeningTest, ConnectionsOpenWithTheCredential) {
  EXPECT_EQ(Locked()->Opening(kResp2), Command({"AUTH", "se cret"}));
  EXPECT_EQ(Locked()->Opening(kResp3), Command({"HELLO", "3", "AUTH", "default", "se cret"}));
  EXPECT_EQ(Locked("app")->Opening(kResp2), Command({"AUTH", "app", "se cret"}));
  EXPECT_EQ(Locked("app")->Opening(kResp3), Command({"HELLO", "3", "AUTH", "app", "se cret"}));
  EXPECT_EQ(Locked()->fingerprint(), Locked()->fingerprint());
  EXPECT_NE(Locked()->fingerprint(), Locked("app")->fingerprint());
}

TEST(RedisOpeningTest, ErrorRepliesRefuseIt) {
  EXPECT_EQ(Open()->OpeningRefusal("+OK\r\n"), "");
  EXPECT_EQ(Open()->OpeningRefusal("%1\r\n$6\r\nserver\r\n$5\r\nredis\r\n"), "");
  EXPECT_EQ(Open()->OpeningRefusal("-ERR unknown command `HELLO`\r\n"),
            "ERR unknown command `HELLO`");
  EXPECT_EQ(Open()->OpeningRefusal("!10\r\nNOAUTH \x1b\r\n\r\n"), "NOAUTH \\x1b");
}

TEST(RedisOpeningTest, OnlyErrorsAboutTheVersionSayThatTheServerDoesNotSpeakIt) {
  for (const char* error :
       {"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n",
        "-ERR Unknown Command 'HELLO'\r\n", "-ERR unsupported command 'hello'\r\n",
        "-NOPROTO unsupported protocol version\r\n", "!16\r\nNOPROTO too new.\r\n"}) {
    EXPECT_TRUE(Open()->LacksVariant(error)) << error;
    EXPECT_TRUE(Locked()->LacksVariant(error)) << error;
  }
  for (const char* error :
       {"-ERR max number of clients reached\r\n", "-LOADING Redis is loading\r\n", "-ERR\r\n",
        "-WRONGPASS invalid\r\n", "-MASTERDOWN\r\n", "-\r\n"}) {
    EXPECT_FALSE(Open()->LacksVariant(error)) << error;
    EXPECT_FALSE(Locked()->LacksVariant(error)) << error;
  }
  EXPECT_TRUE(Open()->LacksVariant("-NOAUTH HELLO must be called\r\n"));
  EXPECT_FALSE(Locked()->LacksVariant("-NOAUTH HELLO must be called\r\n"));
}

// Redis 5 answers so.
TEST(RedisOpeningTest, RefusalNeverRepeatsTheCredential) {
  const std::string text = Locked("app")->OpeningRefusal(
      "-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `app`, `se cret`, "
      "\r\n");
  EXPECT_THAT(text, testing::StartsWith("ERR"));
  EXPECT_EQ(text.find("se cret"), std::string::npos) << text;
  EXPECT_THAT(Locked()->OpeningRefusal("-WRONGPASS invalid\r\n"), testing::StartsWith("WRONGPASS"));
  EXPECT_EQ(Locked()->OpeningRefusal("-ERR max number of clients reached se cret\r\n"),
            "ERR max number of clients reached");
  EXPECT_EQ(Open()->OpeningRefusal("-\r\n"), "an error");
  EXPECT_EQ(Locked()->OpeningRefusal("-se cret\r\n").find("se cret"), std::string::npos);
}

}  // namespace
}  // namespace trunkline
