// Synchronous first-in first-out queue of flip-flops, with full and empty flags.
module fifo #(parameter WIDTH = 4, ADDRESS = 3) (
    input clk,
    input reset,
    input push,
    input pop,
    input [WIDTH-1:0] data_in,
    output [WIDTH-1:0] data_out,
    output full,
    output empty
);
    reg [WIDTH-1:0] store [0:(1<<ADDRESS)-1];
    reg [ADDRESS:0] head, tail;
    wire writes = push & ~full;
    wire reads = pop & ~empty;
    assign empty = head == tail;
    assign full = head == {~tail[ADDRESS], tail[ADDRESS-1:0]};
    assign data_out = store[tail[ADDRESS-1:0]];
    always @(posedge clk) begin
        if (writes) store[head[ADDRESS-1:0]] <= data_in;
        head <= reset ? 0 : head + writes;
        tail <= reset ? 0 : tail + reads;
    end
endmodule
