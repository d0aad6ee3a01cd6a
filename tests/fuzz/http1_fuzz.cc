// Hostile bytes as HTTP/1 requests and as replies. See codec_cuts.h. Besides: a request whose
// "close" was blanked is still the same request, without it.
#include <string>

#include "dataplane/codec/http1.h"
#include "tests/fuzz/codec_cuts.h"

namespace {

using trunkline::Codec;
using trunkline::NewHttp1Codec;
using trunkline::test::FindRequests;
using trunkline::test::FoundRequest;
using trunkline::test::Require;

void RequireBlanksAreHarmless(const Codec& codec, std::string_view bytes) {
  const std::vector<FoundRequest> found = FindRequests(codec, bytes);
  std::string blanked(bytes);
  size_t start = 0;
  for (const FoundRequest& request : found) {
    const auto& facts = request.request;
    if (facts.blank_size > 0) {
      const auto word = blanked.begin() + start + facts.blank_offset;
      std::fill(word, word + facts.blank_size, ' ');
    }
    start += request.size;
  }
  const std::vector<FoundRequest> again = FindRequests(codec, blanked);
  Require(again.size() == found.size(), "blanks keep the requests");
  for (size_t i = 0; i < found.size(); ++i) {
    Require(again[i].size == found[i].size && again[i].state == found[i].state,
            "blanks keep the boundaries");
    Require(again[i].request.dedicated == found[i].request.dedicated, "blanks keep the rest");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const std::unique_ptr<Codec> small = NewHttp1Codec({.max_request_bytes = 64});
  static const std::unique_ptr<Codec> usual = NewHttp1Codec({});
  const uint8_t choice = data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const Codec& codec = choice % 2 == 0 ? *usual : *small;
  trunkline::test::RequireSameRequestsForCuts(codec, choice, bytes);
  RequireBlanksAreHarmless(codec, bytes);
  trunkline::test::RequireSameRepliesForCuts(*usual, choice, bytes, /*hint=*/choice % 3);
  return 0;
}
