#include "dataplane/control/password_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

// Room for CR LF.
constexpr size_t kMaxFileBytes = kMaxPasswordBytes + 2;

absl::Status Unreadable(const std::string& path, const std::string& why) {
  return absl::FailedPreconditionError(
      absl::StrCat("cannot read ", path, ": ", why,
                   "; put the password into this file and let the proxy's user read it"));
}

}  // namespace

absl::StatusOr<std::string> ReadPasswordFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (!fd) return Unreadable(path, ErrorText(errno));
  struct stat status {};
  if (fstat(fd.get(), &status) != 0) return Unreadable(path, ErrorText(errno));
  if (!S_ISREG(status.st_mode)) return Unreadable(path, "it is no regular file");
  std::array<char, kMaxFileBytes + 1> bytes;
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t n = read(fd.get(), bytes.data() + size, bytes.size() - size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Unreadable(path, ErrorText(errno));
    if (n == 0) break;
    size += static_cast<size_t>(n);
  }
  std::string password(bytes.data(), size);
  if (password.ends_with('\n')) password.pop_back();
  if (password.ends_with('\r')) password.pop_back();
  if (password.empty()) return Unreadable(path, "it is empty");
  const bool one_line = password.find_first_of("\r\n") == std::string::npos;
  if (password.size() <= kMaxPasswordBytes && one_line) return password;
  return Unreadable(
      path, absl::StrCat("expected one line of at most ", kMaxPasswordBytes, " bytes in it"));
}

}  // namespace trunkline
