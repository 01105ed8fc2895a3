// Lets the clocks go on. Without it the page says the same as of the time when it was written.
(function () {
  "use strict";
  var root = document.querySelector("main"), ahead = Number(root.dataset.ahead) * 1000, written = Date.parse(root.dataset.written);
  function two(number) { return (number < 10 ? "0" : "") + number; }
  function span(seconds) {
    var days = Math.floor(seconds / 86400), rest = seconds % 86400;
    var clock = two(Math.floor(rest / 3600)) + ":" + two(Math.floor(rest % 3600 / 60)) + ":" + two(rest % 60);
    return days ? days + " " + root.dataset.days + " " + clock : clock;
  }
  function tick() {
    var now = Date.now() + ahead;
    document.querySelectorAll("[data-due]").forEach(function (one) {
      var left = Math.floor((Date.parse(one.dataset.due) - now) / 1000), over = left < 0;
      one.querySelector(".count").textContent = span(Math.abs(left));
      one.querySelectorAll(".left").forEach(function (word) { word.hidden = over; });
      one.querySelectorAll(".over").forEach(function (word) { word.hidden = !over; });
      if (over && !one.classList.contains("overdue")) {
        one.classList.remove("running");
        one.classList.add("overdue");
      }
    });
    var age = Math.floor((now - written) / 1000), old = document.querySelector(".old");
    old.hidden = age < 600;
    old.querySelector(".count").textContent = span(Math.max(age, 0));
  }
  document.querySelectorAll(".still").forEach(function (one) { one.hidden = true; });
  tick();
  setInterval(tick, 1000);
  // board.html#60 on a screen on the wall: read anew every 60 seconds.
  var every = Number(location.hash.slice(1));
  if (every >= 5) { setTimeout(function () { location.reload(); }, every * 1000); }
})();
