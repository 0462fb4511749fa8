// Registered carry-select adder: two ripple sums of each four-bit group, chosen by the carry that arrives.
module adder #(parameter GROUPS = 4) (
    input clk,
    input [4*GROUPS-1:0] a,
    input [4*GROUPS-1:0] b,
    input carry_in,
    output reg [4*GROUPS-1:0] sum,
    output reg carry_out
);
    wire [GROUPS:0] carry;
    wire [4*GROUPS-1:0] chosen;
    assign carry[0] = carry_in;
    genvar g;
    generate
        for (g = 0; g < GROUPS; g = g + 1) begin : group
            wire [4:0] without = a[4*g +: 4] + b[4*g +: 4];
            wire [4:0] with_carry = a[4*g +: 4] + b[4*g +: 4] + 5'd1;
            assign chosen[4*g +: 4] = carry[g] ? with_carry[3:0] : without[3:0];
            assign carry[g+1] = carry[g] ? with_carry[4] : without[4];
        end
    endgenerate
    always @(posedge clk) begin
        sum <= chosen;
        carry_out <= carry[GROUPS];
    end
endmodule
